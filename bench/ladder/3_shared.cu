// Dense, step 3: a block brings each element from global memory once, and its threads share it.
//
// Math:     y = relu(x w + b)
// Layout:   x (m, k); w (k, n); b (n); y (m, n); all row by row
// Launch:   TILE * TILE threads a block, one for each output of a tile of TILE x TILE; a block per tile, grid (tiles)
// Memory:   along k in steps of TILE, a tile of x and one of w are copied to shared memory, an element of each by each
//           thread, 4 sectors by a warp. An element of x is read n / TILE times in all, one of w m / TILE times.
// Edges:    any m, n, k >= 1; the tiles hold 0 outside; outputs outside are not stored
// Numerics: one chain of k fma, in order of k, and then fma of zeros, which change nothing: the bits of step 1
// Cost:     2 m n k flop; 8 m n k / TILE bytes from global memory, 8 m n k from shared memory
//
// Teaches:  shared memory and barriers. All threads of a row of the tile want the same elements of x, all of a column
//           the same of w. So the block copies them once, waits until all of them are there (the first barrier), uses
//           each TILE times, and waits until nobody needs them any more (the second) before it copies the next ones.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(TILE * TILE)
    shared_tiles(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                 REAL* __restrict__ y, Index m, Index n, Index k) {
    __shared__ REAL x_tile[TILE][TILE];
    __shared__ REAL w_tile[TILE][TILE];
    const Index tiles_n = ceil_div(n, TILE);
    const int i = threadIdx.x / TILE, j = threadIdx.x % TILE;
    const Index row = blockIdx.x / tiles_n * TILE + i;
    const Index column = blockIdx.x % tiles_n * TILE + j;
    REAL sum = 0;
    for (Index first = 0; first < k; first += TILE) {
        x_tile[i][j] = row < m && first + j < k ? x[row * k + first + j] : REAL(0);
        w_tile[i][j] = first + i < k && column < n ? w[(first + i) * n + column] : REAL(0);
        __syncthreads();
#pragma unroll
        for (int e = 0; e < TILE; ++e) sum = fma(x_tile[i][e], w_tile[e][j], sum);
        __syncthreads();
    }
    if (row >= m || column >= n) return;
    const REAL z = sum + b[column];
    y[row * n + column] = z <= 0 ? REAL(0) : z;
}
