// Adam (Kingma & Ba 2015, "Adam: a method for stochastic optimization"), with the epsilon of the formula just before
// their section 2.1, as Keras has it; its variants AMSGrad (Reddi et al. 2018), Adamax (section 7.1 of Kingma & Ba) and
// Nadam (Dozat 2016).
//
// Math:     all:    m[i] += rate_1 (g[i] - m[i])
//           adam:   v[i] += rate_2 (g[i]^2 - v[i]);  w[i] -= a m[i] / (sqrt(v[i]) + epsilon), where there is a `hat`
//                   with hat[i] = max(hat[i], v[i]) in the place of v[i];  a = step_size[0]
//           adamax: u[i] = max(beta_2 u[i], |g[i]|);  w[i] -= a m[i] / (u[i] + epsilon);  a = step_size[0]
//           nadam:  v as adam;  w[i] -= a (b m[i] + c g[i]) / (sqrt(v[i] / d) + epsilon);  a, b, c, d = factors[0..3]
//           rate_k = 1 - beta_k;  a to d hold the bias corrections (optimizer_step.cu) and are rounded to REAL
// Layout:   w, m, v, u, g (n), hat (n) or null; step_size (1) and factors (6) in double, in device memory, so that a
//           captured graph need not change
// Launch:   one thread per element
// Memory:   7n elements moved, 9n with `hat`; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; a NaN in g reaches w
// Numerics: every operation is rounded by itself, as NumPy does: the same bits as on the CPU, but for float32 numbers
//           below 1.2e-38, which CuPy has the GPU take for 0
// Cost:     9 to 15 operations per element, a root and a division among them; bound by memory
#include "common.cuh"
#include "greater.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    adam(REAL* __restrict__ w, REAL* __restrict__ m, REAL* __restrict__ v, REAL* __restrict__ hat,
         const REAL* __restrict__ g, const double* __restrict__ step_size, REAL rate_1, REAL rate_2, REAL epsilon,
         Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL mean = m[i] + (g[i] - m[i]) * rate_1;
    REAL square = v[i] + (g[i] * g[i] - v[i]) * rate_2;
    m[i] = mean;
    v[i] = square;
    if (hat != nullptr) hat[i] = square = greater(hat[i], square);
    w[i] -= mean * static_cast<REAL>(step_size[0]) / (sqrt(square) + epsilon);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adamax(REAL* __restrict__ w, REAL* __restrict__ m, REAL* __restrict__ u, const REAL* __restrict__ g,
           const double* __restrict__ step_size, REAL rate_1, REAL beta_2, REAL epsilon, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL mean = m[i] + (g[i] - m[i]) * rate_1;
    const REAL norm = greater(u[i] * beta_2, fabs(g[i]));
    m[i] = mean;
    u[i] = norm;
    w[i] -= mean * static_cast<REAL>(step_size[0]) / (norm + epsilon);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    nadam(REAL* __restrict__ w, REAL* __restrict__ m, REAL* __restrict__ v, const REAL* __restrict__ g,
          const double* __restrict__ factors, REAL rate_1, REAL rate_2, REAL epsilon, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL a = static_cast<REAL>(factors[0]), b = static_cast<REAL>(factors[1]);
    const REAL c = static_cast<REAL>(factors[2]), d = static_cast<REAL>(factors[3]);
    const REAL mean = m[i] + (g[i] - m[i]) * rate_1;
    const REAL square = v[i] + (g[i] * g[i] - v[i]) * rate_2;
    m[i] = mean;
    v[i] = square;
    w[i] -= (mean * b + g[i] * c) * a / (sqrt(square / d) + epsilon);
}
