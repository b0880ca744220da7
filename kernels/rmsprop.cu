// Steps divided by the root of mean or added squares of gradients: RMSprop (Tieleman & Hinton 2012, lecture 6.5),
// Adagrad (Duchi et al. 2011) and Adadelta (Zeiler 2012), in Keras's form.
//
// Math:     rmsprop:  v[i] = rho v[i] + rate g[i]^2;  d = v[i] + epsilon;  s = r g[i] / sqrt(d);  w[i] -= s
//                     with `average` a[i] = rho a[i] + rate g[i] and d = v[i] - a[i]^2 + epsilon;
//                     with `m` m[i] = momentum m[i] + s, and w[i] -= m[i]
//           adagrad:  v[i] += g[i]^2;  w[i] -= r g[i] / sqrt(v[i] + epsilon)
//           adadelta: v[i] = rho v[i] + rate g[i]^2;  s = sqrt(d[i] + epsilon) g[i] / sqrt(v[i] + epsilon);
//                     d[i] = rho d[i] + rate s^2;  w[i] -= r s
//           rate = 1 - rho;  r = learning_rate[0], rounded to REAL
// Layout:   w, v, d, g (n), average and m (n) or null; learning_rate (1) in double, in device memory, so that a captured
//           graph need not change
// Launch:   one thread per element
// Memory:   5n elements moved, 2n more for each of `average` and `m`, adadelta 7n; neighbouring threads touch
//           neighbouring elements
// Edges:    n >= 1; threads past n do nothing
// Numerics: every operation is rounded by itself, as NumPy does: the same bits as on the CPU, but for float32 numbers
//           below 1.2e-38, which CuPy has the GPU take for 0
// Cost:     6 to 14 operations per element, a root and a division among them; bound by memory
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    rmsprop(REAL* __restrict__ w, REAL* __restrict__ v, REAL* __restrict__ average, REAL* __restrict__ m,
            const REAL* __restrict__ g, const double* __restrict__ learning_rate, REAL rho, REAL rate, REAL momentum,
            REAL epsilon, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL square = v[i] * rho + g[i] * g[i] * rate;
    v[i] = square;
    REAL divisor = square;
    if (average != nullptr) {
        const REAL mean = average[i] * rho + g[i] * rate;
        average[i] = mean;
        divisor -= mean * mean;
    }
    REAL step = g[i] * static_cast<REAL>(learning_rate[0]) / sqrt(divisor + epsilon);
    if (m != nullptr) m[i] = step = m[i] * momentum + step;
    w[i] -= step;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adagrad(REAL* __restrict__ w, REAL* __restrict__ v, const REAL* __restrict__ g,
            const double* __restrict__ learning_rate, REAL epsilon, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL sum = v[i] + g[i] * g[i];
    v[i] = sum;
    w[i] -= g[i] * static_cast<REAL>(learning_rate[0]) / sqrt(sum + epsilon);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adadelta(REAL* __restrict__ w, REAL* __restrict__ v, REAL* __restrict__ d, const REAL* __restrict__ g,
             const double* __restrict__ learning_rate, REAL rho, REAL rate, REAL epsilon, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL square = v[i] * rho + g[i] * g[i] * rate;
    const REAL step = sqrt(d[i] + epsilon) * g[i] / sqrt(square + epsilon);
    v[i] = square;
    d[i] = d[i] * rho + step * step * rate;
    w[i] -= step * static_cast<REAL>(learning_rate[0]);
}
