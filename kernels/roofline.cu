// Roofline: how fast this device copies and how fast it multiplies and adds, for the limits that a profile draws.
//
// Math:     copy           y[i] = x[i]
//           multiply_adds  y[i] = v_0 + v_1 + ... over CHAINS chains; v_c begins as x[i] + c, and `turns` times
//                          v_c = v_c / 2 + 1
// Layout:   x, y (n)
// Launch:   copy: a block per THREADS * PER_THREAD elements, neighbouring threads on neighbouring ones, all loads of a
//           thread before its stores; multiply_adds: one thread per element
// Memory:   n reads and n writes
// Edges:    n, turns >= 1; threads past n do nothing
// Numerics: halving is exact, so that fma and a product with a sum of its own round alike: the same bits as in NumPy
//           (but below 1.2e-38 in float32, see launch.py). Chains do not depend on each other: CHAINS of them hide the
//           latency of an FMA, which is 4 cycles on GPUs since compute capability 7.0
// Cost:     copy 2n numbers moved; multiply_adds (2 turns + 2) CHAINS - 1 flop per element, in registers
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    copy(const REAL* __restrict__ x, REAL* __restrict__ y, Index n) {
    const Index first = static_cast<Index>(blockIdx.x) * (THREADS * PER_THREAD) + threadIdx.x;
    REAL values[PER_THREAD];
#pragma unroll
    for (int k = 0; k < PER_THREAD; ++k) {
        const Index i = first + k * THREADS;
        if (i < n) values[k] = x[i];
    }
#pragma unroll
    for (int k = 0; k < PER_THREAD; ++k) {
        const Index i = first + k * THREADS;
        if (i < n) y[i] = values[k];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    multiply_adds(const REAL* __restrict__ x, REAL* __restrict__ y, Index turns, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL half = static_cast<REAL>(0.5), one = 1;
    REAL chains[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; ++c) chains[c] = x[i] + static_cast<REAL>(c);
#pragma unroll 16
    for (int turn = 0; turn < static_cast<int>(turns); ++turn) {
#pragma unroll
        for (int c = 0; c < CHAINS; ++c) chains[c] = fma(chains[c], half, one);
    }
    REAL sum = chains[0];
#pragma unroll
    for (int c = 1; c < CHAINS; ++c) sum += chains[c];
    y[i] = sum;
}
