// What happens to the gradients of all parameters of a model before an optimizer uses them: the gradients of penalties
// on weights are added, and they are clipped; weights decay. And the value of these penalties.
//
// Math:     penalties:        partial[b] = sum over block b of l1[p] |w[i]| + l2[p] w[i]^2
//           gradient_squares: partial[b] = sum over block b of h[i]^2,  h[i] = g[i] + l1[p] sign(w[i]) + 2 l2[p] w[i]
//           clip_factors:     n = sqrt(sum of the partials of group k), factors[k] = min(1, limit / n)
//           prepare:          g[i] = min(max(h[i] factors[k], -bound), bound);
//                             w[i] = w[i] - w[i] decays[p] learning_rate[0]
// Layout:   w, g (blocks THREADS): parameter p begins at a multiple of THREADS and has zeros behind it; owners (blocks)
//           is p for each block; l1, l2, decays (parameters), null where all are 0; factors (parameters), or (1) for a
//           norm over all of them (`together`), null if nothing is clipped by its norm; group k is the blocks
//           first_blocks[k] to first_blocks[k + 1] - 1; learning_rate (1) in double, in device memory
// Launch:   THREADS a block, a block per block of the flat arrays; clip_factors one block per group
// Memory:   penalties reads n elements, gradient_squares up to 2n, prepare moves 2n, and 2n more if weights decay
// Edges:    sign(0) is 0; a NaN stays one; a norm that is not finite makes a global clipping NaN, as Keras does
// Numerics: every operation of `prepare` is rounded by itself, as NumPy does; squares are added in double, in an order
//           that depends on the sizes alone
// Cost:     4 to 10 operations per element
#include "common.cuh"
#include "penalty.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    penalties(const REAL* __restrict__ w, const int* __restrict__ owners, const REAL* __restrict__ l1,
              const REAL* __restrict__ l2, REAL* __restrict__ partial) {
    __shared__ REAL shared[THREADS / WARP];
    const int p = owners[blockIdx.x];
    const REAL value = w[global_thread()];
    const REAL sum = block_sum<THREADS>(l1[p] * fabs(value) + l2[p] * (value * value), shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gradient_squares(const REAL* __restrict__ w, const REAL* __restrict__ g, const int* __restrict__ owners,
                     const REAL* __restrict__ l1, const REAL* __restrict__ l2, double* __restrict__ partial) {
    __shared__ double shared[THREADS / WARP];
    const Index i = global_thread();
    const double h = penalized(g[i], w[i], l1, l2, owners[blockIdx.x]);
    const double sum = block_sum<THREADS>(h * h, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    clip_factors(const double* __restrict__ partial, const Index* __restrict__ first_blocks,
                 REAL* __restrict__ factors, REAL limit, Index together) {
    __shared__ double shared[THREADS / WARP];
    double sum = 0;
#pragma unroll 1
    for (Index b = first_blocks[blockIdx.x] + threadIdx.x; b < first_blocks[blockIdx.x + 1]; b += THREADS) {
        sum += partial[b];
    }
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x != 0) return;
    const REAL norm = static_cast<REAL>(sqrt(sum));
    const REAL factor = norm <= limit ? REAL(1) : limit / norm;
    factors[blockIdx.x] = together ? factor + (norm - norm) : factor;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prepare(REAL* __restrict__ w, REAL* __restrict__ g, const int* __restrict__ owners, const REAL* __restrict__ l1,
            const REAL* __restrict__ l2, const REAL* __restrict__ factors, Index together, REAL bound,
            const REAL* __restrict__ decays, const double* __restrict__ learning_rate) {
    const Index i = global_thread();
    const int p = owners[blockIdx.x];
    REAL h = penalized(g[i], w[i], l1, l2, p);
    if (factors != nullptr) h *= factors[together ? 0 : p];
    g[i] = h > bound ? bound : (h < -bound ? -bound : h);
    if (decays != nullptr) w[i] -= w[i] * decays[p] * static_cast<REAL>(learning_rate[0]);
}
