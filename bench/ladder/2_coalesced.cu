// Dense, step 2: neighbouring threads read neighbours in memory.
//
// Math:     y = relu(x w + b)
// Layout:   x (m, k); w (k, n); b (n); y (m, n); all row by row
// Launch:   TILE * TILE threads a block, one for each output of a tile of TILE x TILE; a block per tile, grid (tiles);
//           neighbouring threads compute neighbouring columns
// Memory:   two elements are read for each fma. A warp's element of x is one for all: 1 sector of 32 bytes. Its 32
//           elements of w are neighbours: 4 sectors, all of which are wanted. Its outputs: 4 sectors.
// Edges:    any m, n, k >= 1; threads outside of y do nothing
// Numerics: one chain of k fma, in order of k: the bits of step 1
// Cost:     2 m n k flop; 8 m n k bytes asked for
//
// Teaches:  coalescing. Only the names of row and column have changed places: a warp is now a piece of a row of y, so
//           that what its threads load at the same time lies together. The instructions are those of step 1; what
//           differs is how many sectors a load of theirs touches: 33 for the two before, 5 now.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(TILE * TILE)
    coalesced(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b, REAL* __restrict__ y,
              Index m, Index n, Index k) {
    const Index tiles_n = ceil_div(n, TILE);
    const Index row = blockIdx.x / tiles_n * TILE + threadIdx.x / TILE;
    const Index column = blockIdx.x % tiles_n * TILE + threadIdx.x % TILE;
    if (row >= m || column >= n) return;
    REAL sum = 0;
    for (Index i = 0; i < k; ++i) sum = fma(x[row * k + i], w[i * n + column], sum);
    const REAL z = sum + b[column];
    y[row * n + column] = z <= 0 ? REAL(0) : z;
}
