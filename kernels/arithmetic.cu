// Arithmetic: the element-wise pieces and the sum that a training step needs beside its layers.
//
// Math:     add_in_place: a[i] += b[i];  scale: y[i] = factor x[i];  scale_in_place: a[i] *= factor;
//           scale_by: y[i] = factor[i / columns] x[i], or with `columns` 0 factor[0] x[i];
//           partial_sums: y[j] = sum of x over chunk j
// Layout:   vectors of n elements, whatever shape they have outside; chunk j is x[j CHUNK] ... x[(j + 1) CHUNK - 1]
// Launch:   THREADS a block; one thread per element, but partial_sums one block per chunk of THREADS * PER_THREAD
//           elements. The launch repeats partial_sums on its own result until one number is left.
// Memory:   3n, 2n and n + n / CHUNK elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing, or add zero
// Numerics: every element passes through at most PER_THREAD + 5 + THREADS / 32 additions a launch, in an order that
//           depends on n alone
// Cost:     n additions or multiplications
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) add_in_place(REAL* __restrict__ a, const REAL* __restrict__ b,
                                                                   Index n) {
    const Index i = global_thread();
    if (i < n) a[i] += b[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) scale(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                            REAL factor, Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = factor * x[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) scale_in_place(REAL* __restrict__ a, REAL factor, Index n) {
    const Index i = global_thread();
    if (i < n) a[i] *= factor;
}

extern "C" __global__ void __launch_bounds__(THREADS) scale_by(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                               const REAL* __restrict__ factor, Index columns,
                                                               Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = factor[columns == 0 ? 0 : i / columns] * x[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) partial_sums(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                                   Index n) {
    __shared__ REAL shared[THREADS / WARP];
    const Index first = static_cast<Index>(blockIdx.x) * THREADS * PER_THREAD + threadIdx.x;
    REAL sum = 0;
#pragma unroll
    for (int k = 0; k < PER_THREAD; ++k) {
        const Index i = first + k * THREADS;
        if (i < n) sum += x[i];
    }
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}
