// Adam (Kingma & Ba 2015, "Adam: a method for stochastic optimization"), with the epsilon of the formula just before
// their section 2.1, as Keras has it.
//
// Math:     m[i] += rate_1 (g[i] - m[i]);  v[i] += rate_2 (g[i]^2 - v[i]);  w[i] -= a m[i] / (sqrt(v[i]) + epsilon)
//           rate_k = 1 - beta_k;  a = step_size[0], which holds the bias correction (optimizer_step.cu), rounded to
//           REAL
// Layout:   w, m, v, g (n); step_size (1) in double, in device memory, so that a captured graph need not change
// Launch:   one thread per element
// Memory:   7n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing
// Numerics: every operation is rounded by itself, as NumPy does: the same bits as on the CPU, but for float32 numbers
//           below 1.2e-38, which CuPy has the GPU take for 0
// Cost:     12 operations per element, a root and a division among them; bound by memory
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    adam(REAL* __restrict__ w, REAL* __restrict__ m, REAL* __restrict__ v, const REAL* __restrict__ g,
         const double* __restrict__ step_size, REAL rate_1, REAL rate_2, REAL epsilon, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL mean = m[i] + (g[i] - m[i]) * rate_1;
    const REAL square = v[i] + (g[i] * g[i] - v[i]) * rate_2;
    m[i] = mean;
    v[i] = square;
    w[i] -= mean * static_cast<REAL>(step_size[0]) / (sqrt(square) + epsilon);
}
