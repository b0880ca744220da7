// Averages of an optimizer: of gradients over several batches, and of weights over all steps.
//
// Math:     mean_gradient: g[i] = (g[i] + total[i]) / count, total[i] = 0
//           average:       k = (calls[0] - 1) / every;  f = momentum if k > 0, else 0;
//                          a[i] = f a[i] + (1 - f) w[i];  w[i] = a[i] if `period` divides k + 1
//           swap:          w[i], a[i] = a[i], w[i]
// Layout:   g, total, w, a (n); calls (1) in device memory, so that a captured graph need not change
// Launch:   one thread per element
// Memory:   3n to 4n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; a period of 0 never comes
// Numerics: every operation is rounded by itself, as NumPy does: the same bits as on the CPU, but for float32 numbers
//           below 1.2e-38, which CuPy has the GPU take for 0
// Cost:     0 to 4 operations per element
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    mean_gradient(REAL* __restrict__ g, REAL* __restrict__ total, REAL count, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    g[i] = (g[i] + total[i]) / count;
    total[i] = 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    average(REAL* __restrict__ w, REAL* __restrict__ a, const Index* __restrict__ calls, REAL momentum, Index every,
            Index period, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index updates = (calls[0] - 1) / every;
    const REAL kept = updates > 0 ? momentum : 0;
    const REAL mean = kept * a[i] + (1 - kept) * w[i];
    a[i] = mean;
    if (period > 0 && (updates + 1) % period == 0) w[i] = mean;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    swap(REAL* __restrict__ w, REAL* __restrict__ a, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL value = w[i];
    w[i] = a[i];
    a[i] = value;
}
