// The step count of an optimizer and what follows from it. Launched with REAL = double.
//
// Math:     all: calls += 1;  t = calls / every, the number of this update;  r = learning_rate[0]
//           advance_adam:      step_size = r sqrt(1 - beta_2^t) / (1 - beta_1^t)
//           advance_nadam:     factors = r, u' / (1 - P u'), (1 - u) / (1 - P), 1 - beta_2^t, P, t, with
//                              u = beta_1 (1 - 0.96^t / 2), u' that of t + 1, P the product of u over all updates so far
//           advance_lamb:      corrections = 1 - beta_1^t, 1 - beta_2^t
//           advance_adafactor: factors = min(r, 1 / sqrt(t)), 1 - t^exponent, t^exponent
// Layout:   calls, learning_rate, step_size (1), factors (6) or (3), corrections (2), in device memory: a captured graph
//           advances by itself
// Launch:   one thread
// Memory:   a few numbers
// Edges:    0 <= beta_1, beta_2 < 1; 0 <= calls < 2^63 - 1. Where factors[5] is not t - 1, because somebody has changed
//           the count, P is multiplied up again, until it is 0
// Numerics: integer powers by repeated squaring, whose multiplications round alike everywhere: the same bits as on the
//           CPU, but for those of t^exponent, the last of which may differ
// Cost:     two multiplications per bit of t and beta
#include "common.cuh"
#include "power.cuh"

extern "C" __global__ void __launch_bounds__(1) advance(Index* __restrict__ calls) {
    calls[0] += 1;
}

__device__ inline Index next_update(Index* calls, Index every) {
    calls[0] += 1;
    return calls[0] / every;
}

extern "C" __global__ void __launch_bounds__(1)
    advance_adam(Index* __restrict__ calls, const double* __restrict__ learning_rate, double* __restrict__ step_size,
                 REAL beta_1, REAL beta_2, Index every) {
    const Index t = next_update(calls, every);
    step_size[0] = learning_rate[0] * sqrt(1 - power(beta_2, t)) / (1 - power(beta_1, t));
}

__device__ inline REAL nadam_momentum(REAL beta_1, Index t) { return beta_1 * (1 - power(0.96, t) / 2); }

extern "C" __global__ void __launch_bounds__(1)
    advance_nadam(Index* __restrict__ calls, const double* __restrict__ learning_rate, double* __restrict__ factors,
                  REAL beta_1, REAL beta_2, Index every) {
    const Index t = next_update(calls, every);
    REAL product = factors[4];
    if (t == 1 || factors[5] != static_cast<REAL>(t - 1)) {
        product = 1;
        for (Index k = 1; k < t && product > 0; ++k) product *= nadam_momentum(beta_1, k);
    }
    const REAL now = nadam_momentum(beta_1, t), next = nadam_momentum(beta_1, t + 1);
    product *= now;
    factors[0] = learning_rate[0];
    factors[1] = next / (1 - product * next);
    factors[2] = (1 - now) / (1 - product);
    factors[3] = 1 - power(beta_2, t);
    factors[4] = product;
    factors[5] = static_cast<REAL>(t);
}

extern "C" __global__ void __launch_bounds__(1)
    advance_lamb(Index* __restrict__ calls, double* __restrict__ corrections, REAL beta_1, REAL beta_2, Index every) {
    const Index t = next_update(calls, every);
    corrections[0] = 1 - power(beta_1, t);
    corrections[1] = 1 - power(beta_2, t);
}

extern "C" __global__ void __launch_bounds__(1)
    advance_adafactor(Index* __restrict__ calls, const double* __restrict__ learning_rate,
                      double* __restrict__ factors, REAL exponent, Index every) {
    const REAL t = static_cast<REAL>(next_update(calls, every));
    factors[0] = fmin(learning_rate[0], 1 / sqrt(t));
    factors[2] = pow(t, exponent);
    factors[1] = 1 - factors[2];
}
