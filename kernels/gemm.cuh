// The tile loop behind every matrix product: C(m, n) = sum over k of A(m, k) B(k, n).
//
// A block computes a tile of BM x BN elements of C. It goes along k in tiles of BK: shared memory holds STAGES of them,
// of A and B each. While all threads multiply the present ones, copies of the next ones are under way; one barrier a
// tile is enough. Each thread keeps TM x TN sums in registers. What differs between Dense, convolution and their
// gradients is only where elements come from (the operands) and what happens to a finished sum (the epilogue).
//
// An epilogue is called with packs of neighbouring sums of one row and stores them.
//
// BM, BN, BK, TM, TN, STAGES, A_WIDTH, B_WIDTH come from gpunet/ops/tiles.py. Rounding: a sum is a chain of at most CHUNK
// fma; longer sums are chains of such chains, added up in memory by the thread that owns the element. So the error
// grows with CHUNK + k / CHUNK, as in a blocked BLAS, not with k.
#include "loader.cuh"

constexpr int CHUNK = 512;
constexpr int CHUNK_TILES = CHUNK / BK;

// The part of the product that this block computes. grid.x counts the tiles of C, a row of tiles after the other (tiles
// of a row read the same lines of A); grid.y counts groups of channels; grid.z counts splits of k.
//
// Splits are whole units of terms, and a sum is filled up with zeros to whole units: where each chain begins and ends,
// and so every bit of C, goes by k and gridDim.z alone, whatever the tile is.
constexpr int UNIT = 16;  // terms, as gpunet/ops/tiles.py has it
static_assert(UNIT % BK == 0 && CHUNK % UNIT == 0, "units must be whole tiles, and chunks whole units");

struct Part {
    Index first_m, first_n, first_k, tiles;

    __device__ inline Part(Index n, Index k) {
        const Index tiles_n = ceil_div(n, BN);
        const Index units = ceil_div(k, UNIT);
        const Index share = ceil_div(units, gridDim.z) * (UNIT / BK);
        const Index first_tile = blockIdx.z * share;
        const Index left = units * (UNIT / BK) - first_tile;
        first_m = blockIdx.x / tiles_n * BM;
        first_n = blockIdx.x % tiles_n * BN;
        first_k = first_tile * BK;
        tiles = left < share ? left : share;
    }
};

// Read a thread's COUNT elements of a row of shared memory: packs that lie THREADS_ALONG packs apart, so that the packs
// of neighbouring threads are neighbours.
template <int THREADS_ALONG, int PACK, int COUNT>
__device__ inline void read_fragment(REAL (&fragment)[COUNT], const REAL* row, int thread) {
    const Pack<PACK>* const packs = reinterpret_cast<const Pack<PACK>*>(row);
#pragma unroll
    for (int i = 0; i < COUNT / PACK; ++i) {
        const Pack<PACK> pack = packs[thread + i * THREADS_ALONG];
#pragma unroll
        for (int e = 0; e < PACK; ++e) fragment[i * PACK + e] = pack.value[e];
    }
}

// A warp is 4 x 8 of the block's THREADS_M x THREADS_N threads. Lanes 2i and 2i + 1 read the same packs of A, and lanes
// two apart the same packs of B: then shared memory serves a read of 16 bytes a lane by two requests instead of four
// (an engineer of NVIDIA's, forums.developer.nvidia.com/t/77228, for compute capability 7).
constexpr int WARP_M = 4, WARP_N = 8;
static_assert(THREADS_M % WARP_M == 0 && THREADS_N % WARP_N == 0, "warps must cover the tile");
__device__ inline int thread_row() {
    return threadIdx.x / 32 / (THREADS_N / WARP_N) * WARP_M + threadIdx.x / 2 % WARP_M;
}
__device__ inline int thread_column() {
    return threadIdx.x / 32 % (THREADS_N / WARP_N) * WARP_N + threadIdx.x % 2 + threadIdx.x % 32 / 8 * 2;
}

// Row of the tile in which a thread's sum number i lies, and column in which its pack number j begins.
__device__ inline int tile_row(int i) { return (thread_row() + i / PACK_M * THREADS_M) * PACK_M + i % PACK_M; }
__device__ inline int tile_column(int j) { return (thread_column() + j * THREADS_N) * PACK_N; }

// sum += (tile of A) (tile of B)
__device__ inline void multiply(const REAL (&a)[BK][BM + PAD], const REAL (&b)[BK][BN + PAD], REAL (&sum)[TM][TN]) {
#pragma unroll
    for (int k = 0; k < BK; ++k) {
        REAL column[TM], row[TN];
        read_fragment<THREADS_M, PACK_M>(column, a[k], thread_row());
        read_fragment<THREADS_N, PACK_N>(row, b[k], thread_column());
#pragma unroll
        for (int i = 0; i < TM; ++i) {
#pragma unroll
            for (int j = 0; j < TN; ++j) sum[i][j] = fma(column[i], row[j], sum[i][j]);
        }
    }
}

// Read or write the first `count` elements of a pack: all at once where the address allows it.
template <class T>
__device__ inline bool moves_as_one(const T* address, Index count) {
    return count >= PACK_N && reinterpret_cast<unsigned long long>(address) % (PACK_N * sizeof(T)) == 0;
}
__device__ inline PackN load_pack(const REAL* source, Index count) {
    if (moves_as_one(source, count)) return *reinterpret_cast<const PackN*>(source);
    PackN pack = {};
#pragma unroll
    for (int e = 0; e < PACK_N; ++e) {
        if (e < count) pack.value[e] = source[e];
    }
    return pack;
}
template <class T>
__device__ inline void store_pack(T* target, const Pack<PACK_N, T>& pack, Index count) {
    if (moves_as_one(target, count)) {
        *reinterpret_cast<Pack<PACK_N, T>*>(target) = pack;
        return;
    }
#pragma unroll
    for (int e = 0; e < PACK_N; ++e) {
        if (e < count) target[e] = pack.value[e];
    }
}

// Where C lies in memory: element (m, n) at data[offset(m, n)]. Sums longer than a chunk grow there.
struct Output {
    static constexpr bool GROWS = true;
    REAL* data;
    Index rows, columns, stride;

    __device__ inline Index offset(Index m, Index n) const { return m * stride + n; }

    // Call f(i, j, m, n) for every pack of this thread that begins inside C: its first sum is number [i][j], element
    // (m, n) of C.
    template <class F>
    __device__ inline void for_each_pack(const Tiles& tiles, F f) const {
#pragma unroll
        for (int i = 0; i < TM; ++i) {
            const Index m = tiles.first_m + tile_row(i);
#pragma unroll
            for (int j = 0; j < TN / PACK_N; ++j) {
                const Index n = tiles.first_n + tile_column(j);
                if (m < rows && n < columns) f(i, j * PACK_N, m, n);
            }
        }
    }
};

// The epilogue that stores the sums as they are.
struct Store {
    template <class C>
    __device__ inline void operator()(const C& c, Index m, Index n, const PackN& sums) const {
        store_pack(c.data + c.offset(m, n), sums, c.columns - n);
    }
};

// A thread's pack [i][j] of sums, added to its earlier chunks in memory if there are any.
__device__ inline PackN take_pack(const REAL (&sum)[TM][TN], int i, int j, const REAL* memory, Index count,
                                  bool chunks) {
    PackN pack = {};
    if (chunks) pack = load_pack(memory, count);
#pragma unroll
    for (int e = 0; e < PACK_N; ++e) pack.value[e] = chunks ? pack.value[e] + sum[i][j + e] : sum[i][j + e];
    return pack;
}

// Copies and multiplications, overlapped: while one tile is multiplied, the next ones are on their way.
template <class A, class B>
struct Pipeline {
    Tiles& tiles;
    Loader<A, BM> a;
    Loader<B, BN> b;
    const int count;                     // of tiles; none where a split begins behind the end of its sums
    int tile = 0;                        // the present one,
    int number = 0, before = DEPTH - 1;  // its stage, and that of the one before, which is free

    __device__ inline Pipeline(Tiles& tiles, const Part& part, const A& a, const B& b)
        : tiles(tiles), a(a, part.first_m, part.first_k), b(b, part.first_n, part.first_k), count(int(part.tiles)) {
#pragma unroll
        for (int next = 0; next < DEPTH - 1; ++next) {
            if (next < this->a.AHEAD && next < count) this->a.begin(tiles.stage[next].a);
            if (next < this->b.AHEAD && next < count) this->b.begin(tiles.stage[next].b);
            close_copies();
        }
        this->a.end(tiles.stage[0].a);
        this->b.end(tiles.stage[0].b);
        wait_for_copies<DEPTH - 2>();
        __syncthreads();
    }
    // Call f(stage) for the present tile.
    template <class F>
    __device__ inline void turn(F f) {
        const int after = number + 1 < DEPTH ? number + 1 : 0;
        auto& next_a = tiles.stage[a.AHEAD == 1 ? after : before].a;
        auto& next_b = tiles.stage[b.AHEAD == 1 ? after : before].b;
        const bool more_a = tile + a.AHEAD < count, more_b = tile + b.AHEAD < count;
        if (more_a) a.begin(next_a);
        if (more_b) b.begin(next_b);
        close_copies();
        keep_order();
        f(tiles.stage[number]);
        if (more_a) a.end(next_a);
        if (more_b) b.end(next_b);
        wait_for_copies<DEPTH - 2>();
        __syncthreads();
        before = number;
        number = after;
        ++tile;
    }
};

// Add a chunk of sums to its earlier ones in memory, if there are `chunks` before it, and begin a new one.
template <class C>
__device__ inline void put_chunk(const Tiles& tiles, const C& c, REAL (&sum)[TM][TN], bool chunks) {
    c.for_each_pack(tiles, [&](int i, int j, Index m, Index n) {
        REAL* const memory = c.data + c.offset(m, n);
        store_pack(memory, take_pack(sum, i, j, memory, c.columns - n, chunks), c.columns - n);
#pragma unroll
        for (int e = 0; e < PACK_N; ++e) sum[i][j + e] = 0;
    });
}

// Add this block's part of C = A B to `sum`, but for all chunks before the last, which are in c's memory. If
// `column_sums` is not null, the blocks of C's first row of tiles also store the sum over k of B(k, n) there, at n.
// `column_sums` and `c` are those of the block's split.
template <class A, class B, class C>
__device__ inline void add_products(Tiles& tiles, const Part& part, const A& a, const B& b, const C& c,
                                    REAL* column_sums, REAL (&sum)[TM][TN]) {
    if (threadIdx.x == 0) {
        tiles.first_m = part.first_m;
        tiles.first_n = part.first_n;
    }
    REAL column_sum = 0;
    const bool sums_column = column_sums != nullptr && part.first_m == 0 && threadIdx.x < BN;
    Pipeline<A, B> pipeline(tiles, part, a, b);
    for (;;) {
        const int end = C::GROWS ? min(pipeline.tile + CHUNK_TILES, pipeline.count) : pipeline.count;
        while (pipeline.tile < end) {
            pipeline.turn([&](const Stage& stage) {
                multiply(stage.a, stage.b, sum);
#pragma unroll
                for (int k = 0; k < BK && sums_column; ++k) column_sum += stage.b[k][threadIdx.x];
            });
        }
        if constexpr (!C::GROWS) {
            break;
        } else {
            const bool chunks = pipeline.tile > CHUNK_TILES;
            const Index column = tiles.first_n + threadIdx.x;
            if (sums_column && column < c.columns) {
                column_sums[column] = chunks ? column_sums[column] + column_sum : column_sum;
            }
            if (pipeline.tile >= pipeline.count) break;
            column_sum = 0;
            put_chunk(tiles, c, sum, chunks);
        }
    }
}

// Compute this block's part of C = A B; `c` and `column_sums` are those of add_products.
template <class A, class B, class C, class Epilogue>
__device__ inline void gemm(Tiles& tiles, const Part& part, const A& a, const B& b, const C& c, REAL* column_sums,
                            const Epilogue& epilogue) {
    REAL sum[TM][TN] = {};
    add_products(tiles, part, a, b, c, column_sums, sum);
    const bool chunks = part.tiles > CHUNK_TILES;
    c.for_each_pack(tiles, [&](int i, int j, Index m, Index n) {
        const REAL* const memory = c.data + c.offset(m, n);
        epilogue(c, m, n, take_pack(sum, i, j, memory, c.columns - n, chunks));
    });
}
