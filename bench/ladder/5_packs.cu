// Dense, step 5: elements move in packs of four, 16 bytes, the widest access to memory.
//
// Math:     y = relu(x w + b)
// Layout:   x (m, k); w (k, n); b (n); y (m, n); all row by row
// Launch:   THREADS_M * THREADS_N threads a block, each with TM x TN outputs of a tile of BM x BN: in packs of PACK x
//           PACK, which lie THREADS_M packs apart along the rows and THREADS_N along the columns; a block per tile,
//           grid (tiles)
// Memory:   as step 4, a pack at a time: a thread copies a pack of x and one of w for each tile, and reads TM / PACK +
//           TN / PACK packs of shared memory for TM * TN fma. The tile of x lies there with k across, so that rows are
//           neighbours; its padding lets packs along k, whose elements part there, go to different banks.
// Edges:    any m, n, k >= 1; X_WHOLE says that rows of x, W_WHOLE that those of w and y, are whole packs that are
//           aligned, else their elements move one by one; the tiles hold 0 outside; outputs outside are not stored
// Numerics: a chain of k fma for each output, in order of k, and then fma of zeros: the bits of step 1
// Cost:     as step 4
//
// Teaches:  that instructions are a resource. The same bytes move with a fourth of the loads, and what a scheduler does
//           not spend on loads and their addresses, it has for fma. That needs alignment, which shapes must allow, and
//           an order of the sums in which both a thread's elements and those of neighbouring threads are neighbours:
//           packs, dealt out in turn.
#include "common.cuh"

constexpr int PACK = 4;
constexpr int THREADS_M = BM / TM;
constexpr int THREADS_N = BN / TN;
constexpr int THREADS = THREADS_M * THREADS_N;
static_assert(BM * BK == PACK * THREADS && BK * BN == PACK * THREADS, "a thread copies one pack of each tile");

struct alignas(16) Pack {
    REAL value[PACK];
};

// The pack at column `first` of a row of `length` elements; zeros outside.
template <bool WHOLE>
__device__ inline Pack load(const REAL* row, Index first, Index length) {
    Pack pack = {};
    if constexpr (WHOLE) {
        if (first < length) pack = *reinterpret_cast<const Pack*>(row + first);
    } else {
#pragma unroll
        for (int e = 0; e < PACK; ++e) {
            if (first + e < length) pack.value[e] = row[first + e];
        }
    }
    return pack;
}

template <bool WHOLE>
__device__ inline void store(REAL* row, Index first, Index length, const Pack& pack) {
    if constexpr (WHOLE) {
        if (first < length) *reinterpret_cast<Pack*>(row + first) = pack;
    } else {
#pragma unroll
        for (int e = 0; e < PACK; ++e) {
            if (first + e < length) row[first + e] = pack.value[e];
        }
    }
}

// A thread's COUNT elements of a row of shared memory: packs that lie THREADS_ALONG packs apart.
template <int THREADS_ALONG, int COUNT>
__device__ inline void read(REAL (&factor)[COUNT], const REAL* row, int thread) {
#pragma unroll
    for (int p = 0; p < COUNT / PACK; ++p) {
        const Pack pack = reinterpret_cast<const Pack*>(row)[thread + p * THREADS_ALONG];
#pragma unroll
        for (int e = 0; e < PACK; ++e) factor[p * PACK + e] = pack.value[e];
    }
}

// sum += (tile of x) (tile of w)
__device__ inline void multiply(const REAL (&x_tile)[BK][BM + PACK], const REAL (&w_tile)[BK][BN], int thread_m,
                                int thread_n, REAL (&sum)[TM][TN]) {
#pragma unroll
    for (int e = 0; e < BK; ++e) {
        REAL factor_x[TM], factor_w[TN];
        read<THREADS_M>(factor_x, x_tile[e], thread_m);
        read<THREADS_N>(factor_w, w_tile[e], thread_n);
#pragma unroll
        for (int i = 0; i < TM; ++i) {
#pragma unroll
            for (int j = 0; j < TN; ++j) sum[i][j] = fma(factor_x[i], factor_w[j], sum[i][j]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    packs(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b, REAL* __restrict__ y,
          Index m, Index n, Index k) {
    alignas(16) __shared__ REAL x_tile[BK][BM + PACK];
    alignas(16) __shared__ REAL w_tile[BK][BN];
    const int tiles_n = ceil_div(n, BN), tile_m = blockIdx.x / tiles_n, tile_n = blockIdx.x % tiles_n;
    const Index first_row = static_cast<Index>(tile_m) * BM, first_column = static_cast<Index>(tile_n) * BN;
    const int thread_m = threadIdx.x / THREADS_N, thread_n = threadIdx.x % THREADS_N;
    // The packs that this thread copies: where they lie in the tiles.
    const int x_row = threadIdx.x / (BK / PACK), x_e = threadIdx.x % (BK / PACK) * PACK;
    const int w_e = threadIdx.x / (BN / PACK), w_column = threadIdx.x % (BN / PACK) * PACK;
    Pack of_x, of_w;
    const auto fetch = [&](Index first) {
        of_x = {};
        of_w = {};
        if (first_row + x_row < m) of_x = load<X_WHOLE>(x + (first_row + x_row) * k, first + x_e, k);
        if (first + w_e < k) of_w = load<W_WHOLE>(w + (first + w_e) * n, first_column + w_column, n);
    };
    const auto put = [&]() {
#pragma unroll
        for (int e = 0; e < PACK; ++e) x_tile[x_e + e][x_row] = of_x.value[e];
        *reinterpret_cast<Pack*>(&w_tile[w_e][w_column]) = of_w;
    };
    REAL sum[TM][TN] = {};
    for (Index first = 0; first < k; first += BK) {
        fetch(first);
        put();
        __syncthreads();
        multiply(x_tile, w_tile, thread_m, thread_n, sum);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < TM; ++i) {
        const Index row = first_row + (thread_m + i / PACK * THREADS_M) * PACK + i % PACK;
        if (row >= m) continue;
#pragma unroll
        for (int j = 0; j < TN; j += PACK) {
            const Index column = first_column + (thread_n + j / PACK * THREADS_N) * PACK;
            Pack z = load<false>(b, column, n);
#pragma unroll
            for (int e = 0; e < PACK; ++e) {
                z.value[e] = sum[i][j + e] + z.value[e];
                z.value[e] = z.value[e] <= 0 ? REAL(0) : z.value[e];
            }
            store<W_WHOLE>(y + row * n, column, n, z);
        }
    }
}
