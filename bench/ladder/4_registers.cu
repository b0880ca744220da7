// Dense, step 4: a thread computes TM x TN outputs, whose sums and factors it keeps in registers.
//
// Math:     y = relu(x w + b)
// Layout:   x (m, k); w (k, n); b (n); y (m, n); all row by row
// Launch:   THREADS_M * THREADS_N threads a block, each with TM x TN outputs of a tile of BM x BN, whose rows lie
//           THREADS_M apart and whose columns THREADS_N; a block per tile, grid (tiles)
// Memory:   along k in steps of BK, tiles of x and w are copied to shared memory by all threads, neighbours by
//           neighbours. An element of x is read n / BN times in all, one of w m / BM times; from shared memory TM + TN
//           elements for TM * TN fma.
// Edges:    any m, n, k >= 1; the tiles hold 0 outside; outputs outside are not stored
// Numerics: a chain of k fma for each output, in order of k, and then fma of zeros: the bits of step 1
// Cost:     2 m n k flop; 4 m n k (1 / BM + 1 / BN) bytes from global memory, 4 m n k (1 / TM + 1 / TN) from shared
//
// Teaches:  reuse in registers. An element that a thread has read from shared memory serves a whole row or column of
//           its outputs. It is the step of step 3 again, one level up: from sharing between the threads of a block to
//           reuse within a thread. The sums of a thread lie apart so that at each read the threads of a warp want
//           neighbours, from different banks of shared memory, or the same element. Arrays whose indices are all known
//           after unrolling are registers.
#include "common.cuh"

constexpr int THREADS_M = BM / TM;
constexpr int THREADS_N = BN / TN;
constexpr int THREADS = THREADS_M * THREADS_N;
static_assert(THREADS % BK == 0 && THREADS % BN == 0 && BM * BK % THREADS == 0, "threads must cover tiles evenly");

extern "C" __global__ void __launch_bounds__(THREADS)
    register_tiles(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                   REAL* __restrict__ y, Index m, Index n, Index k) {
    __shared__ REAL x_tile[BM][BK];
    __shared__ REAL w_tile[BK][BN];
    const int tiles_n = ceil_div(n, BN), tile_m = blockIdx.x / tiles_n, tile_n = blockIdx.x % tiles_n;
    const Index first_row = static_cast<Index>(tile_m) * BM, first_column = static_cast<Index>(tile_n) * BN;
    const int thread_m = threadIdx.x / THREADS_N, thread_n = threadIdx.x % THREADS_N;
    REAL sum[TM][TN] = {};
    for (Index first = 0; first < k; first += BK) {
#pragma unroll
        for (int item = 0; item < BM * BK / THREADS; ++item) {
            const int i = (threadIdx.x + item * THREADS) / BK, e = threadIdx.x % BK;
            const Index row = first_row + i;
            x_tile[i][e] = row < m && first + e < k ? x[row * k + first + e] : REAL(0);
        }
#pragma unroll
        for (int item = 0; item < BK * BN / THREADS; ++item) {
            const int e = (threadIdx.x + item * THREADS) / BN, j = threadIdx.x % BN;
            const Index column = first_column + j;
            w_tile[e][j] = first + e < k && column < n ? w[(first + e) * n + column] : REAL(0);
        }
        __syncthreads();
#pragma unroll
        for (int e = 0; e < BK; ++e) {
            REAL factor_x[TM], factor_w[TN];
#pragma unroll
            for (int i = 0; i < TM; ++i) factor_x[i] = x_tile[thread_m + i * THREADS_M][e];
#pragma unroll
            for (int j = 0; j < TN; ++j) factor_w[j] = w_tile[e][thread_n + j * THREADS_N];
#pragma unroll
            for (int i = 0; i < TM; ++i) {
#pragma unroll
                for (int j = 0; j < TN; ++j) sum[i][j] = fma(factor_x[i], factor_w[j], sum[i][j]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < TM; ++i) {
#pragma unroll
        for (int j = 0; j < TN; ++j) {
            const Index row = first_row + thread_m + i * THREADS_M, column = first_column + thread_n + j * THREADS_N;
            if (row >= m || column >= n) continue;
            const REAL z = sum[i][j] + b[column];
            y[row * n + column] = z <= 0 ? REAL(0) : z;
        }
    }
}
