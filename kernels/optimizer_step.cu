// The step count of an optimizer and what follows from it. Launched with REAL = double.
//
// Math:     advance: t += 1;  advance_adam: t += 1, step_size = r sqrt(1 - beta_2^t) / (1 - beta_1^t)
// Layout:   iterations t, learning_rate r, step_size (1) each, in device memory: a captured graph advances by itself
// Launch:   one thread
// Memory:   a few numbers
// Edges:    0 <= beta_1, beta_2 < 1; 0 <= t < 2^63 - 1
// Numerics: the powers by repeated squaring, whose multiplications round alike everywhere: the same bits as on the CPU
// Cost:     two multiplications per bit of t and beta
#include "common.cuh"

__device__ inline REAL power(REAL base, Index exponent) {
    REAL result = 1;
    for (; exponent > 0; exponent /= 2) {
        if (exponent % 2 == 1) result *= base;
        base *= base;
    }
    return result;
}

extern "C" __global__ void __launch_bounds__(1) advance(Index* __restrict__ iterations) {
    iterations[0] += 1;
}

extern "C" __global__ void __launch_bounds__(1)
    advance_adam(Index* __restrict__ iterations, const double* __restrict__ learning_rate,
                 double* __restrict__ step_size, REAL beta_1, REAL beta_2) {
    const Index t = iterations[0] + 1;
    iterations[0] = t;
    step_size[0] = learning_rate[0] * sqrt(1 - power(beta_2, t)) / (1 - power(beta_1, t));
}
