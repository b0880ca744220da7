// How the targets of a hinge loss become -1 and 1: by t = keep target + spread.
//
// Math:     (keep, spread) = (2, -1) if every target is 0 or 1, else (1, 0)
// Layout:   targets (n); shift (2)
// Launch:   one block of THREADS
// Memory:   n targets
// Edges:    n >= 1
// Numerics: exact
// Cost:     2 comparisons per target
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    hinge_shift(const REAL* __restrict__ targets, REAL* __restrict__ shift, Index n) {
    __shared__ int shared[THREADS / WARP];
    int others = 0;
    for (Index i = threadIdx.x; i < n; i += THREADS) others |= targets[i] != 0 && targets[i] != 1 ? 1 : 0;
    others = block_sum<THREADS>(others, shared);
    if (threadIdx.x != 0) return;
    shift[0] = others == 0 ? 2 : 1;
    shift[1] = others == 0 ? -1 : 0;
}
