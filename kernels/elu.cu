// ELU with any alpha.
//
// Math:     y = x where x > 0, else alpha (exp(x) - 1)
//           dx = dy where x > 0, else dy alpha exp(x)
// Layout:   vectors of n elements, whatever shape they have outside
// Launch:   one thread per element, THREADS a block
// Memory:   2n and 3n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing
// Numerics: expm1 keeps the digits of a small x; two roundings after it or exp
// Cost:     an exponential an element; 8n and 12n bytes for float
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) elu(const REAL* __restrict__ x, REAL* __restrict__ y, REAL alpha,
                                                          Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    y[i] = x[i] <= 0 ? alpha * expm1(x[i]) : x[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) elu_gradient(const REAL* __restrict__ dy,
                                                                   const REAL* __restrict__ x, REAL* __restrict__ dx,
                                                                   REAL alpha, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    dx[i] = x[i] <= 0 ? dy[i] * (alpha * exp(x[i])) : dy[i];
}
