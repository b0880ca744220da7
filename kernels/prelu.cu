// ReLU with a trained slope for negative elements, and its gradients.
//
// Math:     prelu: y[i] = x[i] where x[i] > 0, else alpha[g] x[i];  prelu_gradient: dx[i] = dy[i], or alpha[g] dy[i]
//           prelu_alpha_gradient: partial[s, g] = sum of dy[i] x[i] over the i of split s of group g with x[i] <= 0
//           prelu_alpha_sum: dalpha[g] = sum over s of partial[s, g]
// Layout:   x, dx, y, dy of shape (R0, K0, R1, K1, R2): a group is all elements with equal indices on the kept axes K0
//           and K1, which have one alpha (K0, K1) together. Any choice of axes of an array of up to four axes has this
//           form. A split is `per_split` elements of a group
// Launch:   prelu and prelu_gradient one thread per element; prelu_alpha_gradient blocks of GROUPS x LANES threads, x
//           along the groups, y along a group's elements, all splits of 32 or fewer groups one after the other;
//           prelu_alpha_sum one thread per group
// Memory:   2n, 3n and 2n elements moved; neighbouring threads touch neighbouring elements where R2 = 1 and there are
//           some groups, as for one alpha a channel
// Edges:    any size >= 1; threads past the last group only take part in the barrier
// Numerics: sums are added in an order that depends on the sizes alone
// Cost:     2 operations per element
#include "common.cuh"

__device__ inline Index group_of(Index i, Index k0, Index r1, Index k1, Index r2) {
    return i / (r2 * k1 * r1) % k0 * k1 + i / r2 % k1;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prelu(const REAL* __restrict__ x, const REAL* __restrict__ alpha, REAL* __restrict__ y, Index n, Index k0, Index r1,
          Index k1, Index r2) {
    const Index i = global_thread();
    if (i < n) y[i] = x[i] > 0 ? x[i] : alpha[group_of(i, k0, r1, k1, r2)] * x[i];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prelu_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, const REAL* __restrict__ alpha,
                   REAL* __restrict__ dx, Index n, Index k0, Index r1, Index k1, Index r2) {
    const Index i = global_thread();
    if (i < n) dx[i] = x[i] > 0 ? dy[i] : alpha[group_of(i, k0, r1, k1, r2)] * dy[i];
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES)
    prelu_alpha_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, REAL* __restrict__ partial,
                         Index per_split, Index r0, Index k0, Index r1, Index k1, Index r2) {
    __shared__ REAL sums[LANES][GROUPS];
    const Index groups = k0 * k1, size = r0 * r1 * r2, blocks = ceil_div(groups, GROUPS);
    const Index group = blockIdx.x % blocks * GROUPS + threadIdx.x, split = blockIdx.x / blocks;
    const Index a = group / k1, b = group % k1;
    const Index last = (split + 1) * per_split;
    const Index end = group < groups ? (last < size ? last : size) : 0;
    REAL sum = 0;
    // Not unrolled: that would spill registers on sm_120.
#pragma unroll 1
    for (Index e = split * per_split + threadIdx.y; e < end; e += LANES) {
        const Index p = e / (r1 * r2), q = e / r2 % r1, s = e % r2;
        const Index i = (((p * k0 + a) * r1 + q) * k1 + b) * r2 + s;
        if (!(x[i] > 0)) sum = fma(dy[i], x[i], sum);
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || group >= groups) return;
    for (int lane = 1; lane < LANES; ++lane) sum += sums[lane][threadIdx.x];
    partial[split * groups + group] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prelu_alpha_sum(const REAL* __restrict__ partial, REAL* __restrict__ dalpha, Index splits, Index groups) {
    const Index group = global_thread();
    if (group >= groups) return;
    REAL sum = 0;
    for (Index s = 0; s < splits; ++s) sum += partial[s * groups + group];
    dalpha[group] = sum;
}
