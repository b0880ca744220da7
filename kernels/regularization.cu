// Penalties on the size of weights, and their gradient.
//
// Math:     partial[j] = sum of l1 |w[i]| + l2 w[i]^2 over chunk j;  dw[i] += l1 sign(w[i]) + twice_l2 w[i]
// Layout:   w, dw (n); chunk j is w[j CHUNK] ... w[(j + 1) CHUNK - 1], CHUNK = THREADS PER_THREAD
// Launch:   penalty one block per chunk, penalty_gradient one thread per element
// Memory:   n elements read; the gradient reads 2n and writes n
// Edges:    n >= 1; threads past n add zero, or do nothing; sign(0) is 0
// Numerics: every element passes through at most PER_THREAD + 5 + THREADS / 32 additions, in an order that depends on n
//           alone; the host has arithmetic.cu add up the partial sums
// Cost:     4 operations per element
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    penalty(const REAL* __restrict__ w, REAL* __restrict__ partial, REAL l1, REAL l2, Index n) {
    __shared__ REAL shared[THREADS / WARP];
    const Index first = static_cast<Index>(blockIdx.x) * THREADS * PER_THREAD + threadIdx.x;
    REAL sum = 0;
#pragma unroll
    for (int k = 0; k < PER_THREAD; ++k) {
        const Index i = first + k * THREADS;
        if (i < n) sum += l1 * fabs(w[i]) + l2 * (w[i] * w[i]);
    }
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    penalty_gradient(const REAL* __restrict__ w, REAL* __restrict__ dw, REAL l1, REAL twice_l2, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL sign = w[i] > 0 ? 1 : (w[i] < 0 ? -1 : 0);
    dw[i] += l1 * sign + twice_l2 * w[i];
}
