// Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms"), in Keras's form.
//
// Math:     w[i] -= r sign(m[i] beta_1 + g[i] rate_1);  m[i] = m[i] beta_2 + g[i] rate_2
//           rate_k = 1 - beta_k;  r = learning_rate[0], rounded to REAL
// Layout:   w, m, g (n); learning_rate (1) in double, in device memory, so that a captured graph need not change
// Launch:   one thread per element
// Memory:   5n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; sign(0) is 0; a NaN in g reaches w
// Numerics: every operation is rounded by itself, as NumPy does: the same bits as on the CPU, but for float32 numbers
//           below 1.2e-38, which CuPy has the GPU take for 0
// Cost:     9 operations per element
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    lion(REAL* __restrict__ w, REAL* __restrict__ m, const REAL* __restrict__ g,
         const double* __restrict__ learning_rate, REAL beta_1, REAL rate_1, REAL beta_2, REAL rate_2, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL mean = m[i] * beta_1 + g[i] * rate_1;
    const REAL sign = mean > 0 ? REAL(1) : (mean < 0 ? REAL(-1) : (mean == 0 ? REAL(0) : mean));
    w[i] -= sign * static_cast<REAL>(learning_rate[0]);
    m[i] = m[i] * beta_2 + g[i] * rate_2;
}
