// Stochastic gradient descent, plain and with momentum (Keras's form).
//
// Math:     plain:    w[i] -= r g[i]                                      r = learning_rate[0], rounded to REAL
//           momentum: m[i] = momentum m[i] - r g[i];  w[i] += m[i], or with Nesterov w[i] += momentum m[i] - r g[i]
// Layout:   w, m, g (n); learning_rate (1) in double, in device memory, so that a captured graph need not change
// Launch:   one thread per element
// Memory:   3n elements moved, with momentum 5n; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing
// Numerics: every operation is rounded by itself, as NumPy does: the same bits as on the CPU, but for float32 numbers
//           below 1.2e-38, which CuPy has the GPU take for 0
// Cost:     2 operations per element, with momentum 4 or 5
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    sgd(REAL* __restrict__ w, const REAL* __restrict__ g, const double* __restrict__ learning_rate, Index n) {
    const Index i = global_thread();
    if (i < n) w[i] -= static_cast<REAL>(learning_rate[0]) * g[i];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sgd_momentum(REAL* __restrict__ w, REAL* __restrict__ m, const REAL* __restrict__ g,
                 const double* __restrict__ learning_rate, REAL momentum, Index nesterov, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL step = static_cast<REAL>(learning_rate[0]) * g[i];
    const REAL velocity = momentum * m[i] - step;
    m[i] = velocity;
    w[i] += nesterov ? momentum * velocity - step : velocity;
}
