// Batch dot: products of two arrays along one axis of each, sample by sample, their gradients, and vectors of length 1.
//
// Math:     batch_dot: y[b, p, q, r, s] = sum_k x0[b, p, k, q] x1[b, r, k, s];
//           batch_dot_gradient: dx[b, p, k, q] = sum_r sum_s dy[b, (p, q), (r, s)] x[b, r, k, s], x being the other;
//           normalize: y[o, k, i] = m x[o, k, i], m = min(1 / sqrt(sum_k x[o, k, i]^2), LARGEST);
//           normalize_gradient: dx = m (dy - y sum_k y dy), and m dy where m is LARGEST
// Layout:   as in Math, C-contiguous; of dy, p, q, r and s have the steps that the launch gives, so that one kernel
//           gives the gradients of both arrays
// Launch:   THREADS a block; one thread per element of y or dx, of normalize and its gradient per vector
// Memory:   every element is read once a product that it is in; sums over q or s of 1 touch neighbouring elements
// Edges:    sizes >= 1; threads past n do nothing
// Numerics: sums in order of k, or of r and then s, by fma
// Cost:     2 B P Q R S K flop forward, as much for each gradient
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
batch_dot(const REAL* __restrict__ x0, const REAL* __restrict__ x1, REAL* __restrict__ y, Index P, Index K, Index Q,
          Index R, Index S, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index s = i % S, r = i / S % R, q = i / (S * R) % Q, p = i / (S * R * Q) % P, b = i / (S * R * Q * P);
    const REAL* const row0 = x0 + (b * P + p) * K * Q + q;
    const REAL* const row1 = x1 + (b * R + r) * K * S + s;
    REAL sum = 0;
    for (Index k = 0; k < K; ++k) sum = fma(row0[k * Q], row1[k * S], sum);
    y[i] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
batch_dot_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, REAL* __restrict__ dx, Index P, Index K,
                   Index Q, Index R, Index S, Index step_p, Index step_q, Index step_r, Index step_s, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index q = i % Q, k = i / Q % K, p = i / (Q * K) % P, b = i / (Q * K * P);
    const REAL* const block = dy + b * P * Q * R * S + p * step_p + q * step_q;
    REAL sum = 0;
    for (Index r = 0; r < R; ++r)
        for (Index s = 0; s < S; ++s)
            sum = fma(block[r * step_r + s * step_s], x[((b * R + r) * K + k) * S + s], sum);
    dx[i] = sum;
}

__device__ inline REAL multiplier(const REAL* vector, Index K, Index inner) {
    REAL squares = 0;
    for (Index k = 0; k < K; ++k) squares = fma(vector[k * inner], vector[k * inner], squares);
    const REAL m = REAL(1) / sqrt(squares);
    return m < REAL(LARGEST) ? m : REAL(LARGEST);
}

extern "C" __global__ void __launch_bounds__(THREADS) normalize(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                                Index K, Index inner, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index first = i / inner * K * inner + i % inner;
    const REAL m = multiplier(x + first, K, inner);
    for (Index k = 0; k < K; ++k) y[first + k * inner] = m * x[first + k * inner];
}

extern "C" __global__ void __launch_bounds__(THREADS)
normalize_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, REAL* __restrict__ dx, Index K, Index inner,
                   Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index first = i / inner * K * inner + i % inner;
    const REAL m = multiplier(x + first, K, inner);
    REAL along = 0;
    if (m < REAL(LARGEST))
        for (Index k = 0; k < K; ++k) along = fma(m * x[first + k * inner], dy[first + k * inner], along);
    for (Index k = 0; k < K; ++k) {
        const Index j = first + k * inner;
        dx[j] = m * (dy[j] - m * x[j] * along);
    }
}
