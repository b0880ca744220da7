// How far vectors are from being orthogonal to each other, and its gradient.
//
// Math:     unit_vectors: v[i] = min(1 / |w[i]|, 1e7),  u[i] = v[i] w[i]
//           orthogonality: partial[i] = sum over j != i of |u[i] . u[j]|
//           orthogonality_gradient: s[i] = sum over j != i of sign(u[i] . u[j]) u[j],
//           dw[i] += factor v[i] (s[i] - (u[i] . s[i]) u[i]), without the second term where v[i] is 1e7
// Layout:   u, s (vectors, size); element c of vector i of w and dw lies at i vector_stride + c element_stride, so that
//           rows of a matrix can be meant as well as columns; v, partial (vectors)
// Launch:   one block of THREADS per vector; its threads stride over the vector's elements
// Memory:   every block reads all of u, which a cache of some MiB holds for all but the widest layers
// Edges:    any size >= 1; sign(0) is 0
// Numerics: a sum passes through its thread's terms, the warp's lanes and the warps, in this order at every run
// Cost:     2 vectors^2 size operations, twice that for the gradient
#include "common.cuh"
#include "reduce.cuh"

constexpr REAL LIMIT = REAL(1e7);

// u . t, for two vectors of `size` elements; all threads of the block get it.
__device__ inline REAL product(const REAL* u, const REAL* t, Index size, REAL* shared) {
    REAL sum = 0;
    // Not unrolled, here and below: that would spill registers on sm_90 and sm_100.
#pragma unroll 1
    for (Index c = threadIdx.x; c < size; c += THREADS) sum = fma(u[c], t[c], sum);
    return block_sum<THREADS>(sum, shared);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    unit_vectors(const REAL* __restrict__ w, REAL* __restrict__ u, REAL* __restrict__ v, Index size,
                 Index vector_stride, Index element_stride) {
    __shared__ REAL shared[THREADS / WARP];
    const Index i = blockIdx.x;
    w += i * vector_stride;
    REAL sum = 0;
    for (Index c = threadIdx.x; c < size; c += THREADS) sum = fma(w[c * element_stride], w[c * element_stride], sum);
    const REAL inverse = 1 / sqrt(block_sum<THREADS>(sum, shared));
    const REAL scale = inverse > LIMIT ? LIMIT : inverse;
    for (Index c = threadIdx.x; c < size; c += THREADS) u[i * size + c] = scale * w[c * element_stride];
    if (threadIdx.x == 0) v[i] = scale;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    orthogonality(const REAL* __restrict__ u, REAL* __restrict__ partial, Index vectors, Index size) {
    __shared__ REAL shared[THREADS / WARP];
    const Index i = blockIdx.x;
    REAL sum = 0;
    for (Index j = 0; j < vectors; ++j) {
        if (j != i) sum += fabs(product(u + i * size, u + j * size, size, shared));
    }
    if (threadIdx.x == 0) partial[i] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    orthogonality_gradient(const REAL* __restrict__ u, const REAL* __restrict__ v, REAL* __restrict__ s,
                           REAL* __restrict__ dw, REAL factor, Index vectors, Index size, Index vector_stride,
                           Index element_stride) {
    __shared__ REAL shared[THREADS / WARP];
    const Index i = blockIdx.x;
    const REAL* own = u + i * size;
    s += i * size;
    dw += i * vector_stride;
    for (Index c = threadIdx.x; c < size; c += THREADS) s[c] = 0;
    for (Index j = 0; j < vectors; ++j) {
        if (j == i) continue;
        const REAL* other = u + j * size;
        const REAL cosine = product(own, other, size, shared);
        const REAL sign = cosine > 0 ? 1 : (cosine < 0 ? -1 : 0);
#pragma unroll 1
        for (Index c = threadIdx.x; c < size; c += THREADS) s[c] += sign * other[c];
    }
    const REAL along = product(own, s, size, shared);
    const REAL held = v[i] < LIMIT ? along : REAL(0);
#pragma unroll 1
    for (Index c = threadIdx.x; c < size; c += THREADS) dw[c * element_stride] += factor * v[i] * (s[c] - held * own[c]);
}
