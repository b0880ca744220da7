// Lamb (You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes"), in Keras's form, for
// all parameters of a model at once.
//
// Math:     lamb_step:    m[i] += rate_1 (g[i] - m[i]);  v[i] += rate_2 (g[i]^2 - v[i]);
//                         g[i] = s = (m[i] / c[0]) / (sqrt(v[i] / c[1]) + epsilon);
//                         squares[b] = sums over block b of w[i]^2 and of s^2
//           lamb_factors: factors[p] = r norm(w of p) / norm(s of p), or r if one of these is 0
//           lamb:         w[i] -= factors[p] s
//           rate_k = 1 - beta_k;  c = corrections, r = learning_rate[0], rounded to REAL
// Layout:   w, m, v, g (blocks THREADS): parameter p has sizes[p] elements, begins at a multiple of THREADS, and has
//           zeros behind it; owners (blocks) is p for each block; p has the blocks first_blocks[p] to
//           first_blocks[p + 1] - 1; here the first block of all is number `first`, and the first parameter `number`;
//           squares (blocks, 2) and corrections (2), learning_rate (1) in double, in device memory; factors (parameters)
// Launch:   THREADS a block, a block per block of the flat arrays; lamb_factors a block per parameter
// Memory:   9n elements moved, then 3n; neighbouring threads touch neighbouring elements
// Edges:    what lies behind a parameter is not changed and counts nothing; norms that are NaN count as 0
// Numerics: every operation on an element is rounded by itself, as NumPy does; squares are added in double, in an order
//           that depends on the sizes alone
// Cost:     19 operations per element, a root and three divisions among them; bound by memory
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    lamb_step(const REAL* __restrict__ w, REAL* __restrict__ m, REAL* __restrict__ v, REAL* __restrict__ g,
              const int* __restrict__ owners, const Index* __restrict__ first_blocks, const Index* __restrict__ sizes,
              const double* __restrict__ corrections, double* __restrict__ squares, REAL rate_1, REAL rate_2,
              REAL epsilon, Index first) {
    __shared__ double shared[THREADS / WARP];
    const Index i = global_thread();
    const int p = owners[blockIdx.x];
    double of_w = 0, of_s = 0;
    if (i - (first_blocks[p] - first) * THREADS < sizes[p]) {
        const REAL mean = m[i] + (g[i] - m[i]) * rate_1;
        const REAL square = v[i] + (g[i] * g[i] - v[i]) * rate_2;
        const REAL s = mean / static_cast<REAL>(corrections[0]) /
                       (sqrt(square / static_cast<REAL>(corrections[1])) + epsilon);
        m[i] = mean;
        v[i] = square;
        g[i] = s;
        of_w = static_cast<double>(w[i]) * w[i];
        of_s = static_cast<double>(s) * s;
    }
    of_w = block_sum<THREADS>(of_w, shared);
    of_s = block_sum<THREADS>(of_s, shared);
    if (threadIdx.x == 0) {
        squares[2 * blockIdx.x] = of_w;
        squares[2 * blockIdx.x + 1] = of_s;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    lamb_factors(const double* __restrict__ squares, const Index* __restrict__ first_blocks,
                 const double* __restrict__ learning_rate, REAL* __restrict__ factors, Index number, Index first) {
    __shared__ double shared[THREADS / WARP];
    const Index p = number + blockIdx.x;
    double of_w = 0, of_s = 0;
#pragma unroll 1
    for (Index b = first_blocks[p] - first + threadIdx.x; b < first_blocks[p + 1] - first; b += THREADS) {
        of_w += squares[2 * b];
        of_s += squares[2 * b + 1];
    }
    of_w = block_sum<THREADS>(of_w, shared);
    of_s = block_sum<THREADS>(of_s, shared);
    if (threadIdx.x != 0) return;
    const REAL norm_w = static_cast<REAL>(sqrt(of_w)), norm_s = static_cast<REAL>(sqrt(of_s));
    const REAL ratio = norm_w > 0 && norm_s > 0 ? norm_w / norm_s : REAL(1);
    factors[blockIdx.x] = ratio * static_cast<REAL>(learning_rate[0]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    lamb(REAL* __restrict__ w, const REAL* __restrict__ s, const int* __restrict__ owners,
         const REAL* __restrict__ factors, Index number) {
    const Index i = global_thread();
    w[i] -= factors[owners[blockIdx.x] - number] * s[i];
}
