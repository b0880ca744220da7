// Dense, step 1: a thread for each output, as the formula reads.
//
// Math:     y = relu(x w + b)
// Layout:   x (m, k); w (k, n); b (n); y (m, n); all row by row
// Launch:   TILE * TILE threads a block, one for each output of a tile of TILE x TILE; a block per tile, grid (tiles);
//           neighbouring threads compute neighbouring rows
// Memory:   two elements are read for each fma. A warp's 32 elements of x lie k elements apart: 32 sectors of 32 bytes,
//           of which 4 bytes each are wanted. Its element of w is one for all: 1 sector. Its outputs: 32 sectors.
// Edges:    any m, n, k >= 1; threads outside of y do nothing
// Numerics: one chain of k fma, in order of k
// Cost:     2 m n k flop; 8 m n k bytes asked for
//
// Teaches:  how a tile of outputs becomes threads, and what to look for first. The arithmetic is right, and as short as
//           it gets. But memory is moved in sectors of 32 bytes, and the threads of a warp, which load at the same
//           time, ask for elements of different rows: each sector is moved for one element, unless a cache still holds
//           it when the same thread comes back for the next one.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(TILE * TILE)
    naive(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b, REAL* __restrict__ y,
          Index m, Index n, Index k) {
    const Index tiles_n = ceil_div(n, TILE);
    const Index row = blockIdx.x / tiles_n * TILE + threadIdx.x % TILE;
    const Index column = blockIdx.x % tiles_n * TILE + threadIdx.x / TILE;
    if (row >= m || column >= n) return;
    REAL sum = 0;
    for (Index i = 0; i < k; ++i) sum = fma(x[row * k + i], w[i * n + column], sum);
    const REAL z = sum + b[column];
    y[row * n + column] = z <= 0 ? REAL(0) : z;
}
