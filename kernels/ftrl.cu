// Ftrl: follow the regularized leader (McMahan et al. 2013, "Ad click prediction: a view from the trenches"), in Keras's
// form.
//
// Math:     s = v[i] + g[i]^2;  l[i] += g[i] + shrinkage w[i] - (s^p - v[i]^p) / r w[i];
//           w[i] = (clip(l[i], -l1, l1) - l[i]) / (s^p / r + 2 (l2 + beta / (2 r)));  v[i] = s
//           r = learning_rate[0], rounded to REAL;  s^p is sqrt(s) where ROOT is 1
// Layout:   w, v, l, g (n); learning_rate (1) in double, in device memory, so that a captured graph need not change
// Launch:   one thread per element
// Memory:   7n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; a NaN in g reaches w
// Numerics: every operation is rounded by itself, as NumPy does: with ROOT the same bits as on the CPU, but for float32
//           numbers below 1.2e-38, which CuPy has the GPU take for 0; else the powers may differ in their last bits
// Cost:     19 operations per element, two powers and three divisions among them
#include "common.cuh"

__device__ inline REAL raised(REAL x, REAL p) { return ROOT ? sqrt(x) : pow(x, p); }

extern "C" __global__ void __launch_bounds__(THREADS)
    ftrl(REAL* __restrict__ w, REAL* __restrict__ v, REAL* __restrict__ l, const REAL* __restrict__ g,
         const double* __restrict__ learning_rate, REAL p, REAL l1, REAL l2, REAL shrinkage, REAL beta, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL r = static_cast<REAL>(learning_rate[0]);
    const REAL squares = v[i] + g[i] * g[i];
    const REAL power = raised(squares, p);
    const REAL linear = l[i] + (g[i] + w[i] * shrinkage - (power - raised(v[i], p)) / r * w[i]);
    const REAL quadratic = power / r + 2 * (l2 + beta / (2 * r));
    const REAL clipped = linear > l1 ? l1 : (linear < -l1 ? -l1 : linear);
    w[i] = (clipped - linear) / quadratic;
    l[i] = linear;
    v[i] = squares;
}
