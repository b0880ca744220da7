// The tile loop behind every matrix product: C(m, n) = sum over k of A(m, k) B(k, n).
//
// A block computes a tile of BM x BN elements of C. It goes along k in tiles of BK: shared memory holds STAGES of them,
// of A and B each. While all threads multiply the present ones, copies of the next ones are under way; one barrier a
// tile is enough. Each thread keeps TM x TN sums in registers. What differs between Dense, convolution and their
// gradients is only where elements come from (the operands) and what happens to a finished sum (the epilogue).
//
// An operand presents A or B as elements (line, k), where the line is m for A and n for B. It is a class with
//     K_RUNS                  whether neighbours in memory are neighbours along k (else along the line): neighbouring
//                             threads copy neighbours in memory
//     Line line(Index i)      what line i contributes to addresses; each thread asks once, before the loop
//     Step step(Index k)      what k contributes
//     void advance(Step&)     moves on by BK, without divisions
//     WIDTH                   how many neighbours in memory move as one: A_WIDTH or B_WIDTH
//     load(line, step)        the pack of so many elements that begins there; 0 where the line or k lies outside
//     IS_MEMORY               whether elements are wanted as they lie in memory. If so, there are, to copy them without
//                             registers between (ptx.cuh):
//     is_inside(line, step)   whether the pack is not 0, and
//     address(line, step)     where it lies then
//
// Runs of memory are a multiple of WIDTH elements long, and packs are aligned: gpunet/ops/tiles.py sees to it.
//
// An epilogue is called with packs of neighbouring sums of one row and stores them.
//
// BM, BN, BK, TM, TN, STAGES, A_WIDTH, B_WIDTH come from gpunet/ops/tiles.py. Rounding: a sum is a chain of at most CHUNK
// fma; longer sums are chains of such chains, added up in memory by the thread that owns the element. So the error
// grows with CHUNK + k / CHUNK, as in a blocked BLAS, not with k.
#include "common.cuh"
#include "packs.cuh"
#include "ptx.cuh"

constexpr int THREADS_M = BM / TM;
constexpr int THREADS_N = BN / TN;
constexpr int THREADS = THREADS_M * THREADS_N;
// Blocks that a multiprocessor shall hold at least: these leave a thread 128 registers (255 of doubles, which take two
// each). Where elements pass through registers that is too few, and half as many blocks must do.
constexpr int COPYING_BLOCKS = (sizeof(REAL) == 4 ? 512 : 256) / THREADS;
constexpr int STAGED_BLOCKS = (COPYING_BLOCKS + 1) / 2;
constexpr int BLOCKS = ASYNC_COPIES ? COPYING_BLOCKS : STAGED_BLOCKS;
constexpr int DEPTH = ASYNC_COPIES ? STAGES : 2;  // tiles in shared memory; registers hold one only on its way to there
constexpr int CHUNK = 512;
constexpr int CHUNK_TILES = CHUNK / BK;
static_assert(BM % TM == 0 && BN % TN == 0 && CHUNK % BK == 0, "tile sizes must divide each other");
static_assert(BN <= THREADS, "column sums need a thread per column");

constexpr int WIDEST = 16 / sizeof(REAL);
constexpr int PACK_M = TM < WIDEST ? TM : WIDEST;
constexpr int PACK_N = TN < WIDEST ? TN : WIDEST;
using PackN = Pack<PACK_N>;
static_assert(TM % PACK_M == 0 && TN % PACK_N == 0, "a thread's tile must be whole packs");

// A row of a tile in shared memory is one k. The padding keeps rows aligned for packs and lets threads that copy along
// k write to different banks.
constexpr int PAD = 4;
struct alignas(16) Stage {
    REAL a[BK][BM + PAD];
    REAL b[BK][BN + PAD];
};
struct Tiles {
    Stage stage[DEPTH];
    // The tile's place in C waits here for the end of a chunk. Were it in registers, the compiler would compute the
    // addresses of all sums before the loop, and run out of registers.
    Index first_m, first_n;
};

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

// Copies tiles of LINES x BK elements of an operand to shared memory: straight where the elements are wanted as they
// lie in memory and the GPU can, else by way of registers.
template <class Operand, int LINES>
struct Loader {
    static constexpr bool K_RUNS = Operand::K_RUNS;
    static constexpr bool STRAIGHT = ASYNC_COPIES && Operand::IS_MEMORY;
    static constexpr int AHEAD = STRAIGHT ? DEPTH - 1 : 1;  // how many tiles are on their way at a time
    static constexpr int WIDTH = Operand::WIDTH;
    static constexpr int RUN = (K_RUNS ? BK : LINES) / WIDTH;   // packs of a run, along which neighbouring threads go;
    static constexpr int RUNS = THREADS / RUN;                  // all threads together cover so many runs at a time,
    static constexpr int ITEMS = LINES * BK / WIDTH / THREADS;  // and do that so often
    static_assert(THREADS % RUN == 0 && ITEMS * WIDTH * THREADS == LINES * BK, "threads must cover a tile evenly");
    using Tile = REAL[BK][LINES + PAD];

    const Operand& operand;
    typename Operand::Line line[K_RUNS ? ITEMS : 1];
    typename Operand::Step step[K_RUNS ? 1 : ITEMS];
    Pack<WIDTH> staged[STRAIGHT ? 1 : ITEMS] = {};

    __device__ inline static int along() { return threadIdx.x % RUN * WIDTH; }
    __device__ inline static int across(int item) { return threadIdx.x / RUN + item * RUNS; }

    __device__ inline Loader(const Operand& operand, Index first_line, Index first_k) : operand(operand) {
        if constexpr (K_RUNS) {
            step[0] = operand.step(first_k + along());
#pragma unroll
            for (int i = 0; i < ITEMS; ++i) line[i] = operand.line(first_line + across(i));
        } else {
            line[0] = operand.line(first_line + along());
#pragma unroll
            for (int i = 0; i < ITEMS; ++i) step[i] = operand.step(first_k + across(i));
        }
    }

    // Begin to copy this thread's elements of the next tile to `tile`.
    __device__ inline void begin(Tile& tile) {
#pragma unroll
        for (int i = 0; i < ITEMS; ++i) {
            const auto& own_line = line[K_RUNS ? i : 0];
            const auto& own_step = step[K_RUNS ? 0 : i];
            if constexpr (STRAIGHT) {
                copy(tile, i, operand.address(own_line, own_step), operand.is_inside(own_line, own_step));
            } else {
                staged[i] = operand.load(own_line, own_step);
            }
        }
#pragma unroll
        for (int i = 0; i < (K_RUNS ? 1 : ITEMS); ++i) operand.advance(step[i]);
    }

    // What runs along k is turned: its elements go to different rows.
    __device__ inline void copy(Tile& tile, int item, const REAL* source, bool reads) const {
        if constexpr (K_RUNS) {
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) copy_async(&tile[along() + e][across(item)], source + e, reads);
        } else {
            copy_async(reinterpret_cast<Pack<WIDTH>*>(&tile[across(item)][along()]),
                       reinterpret_cast<const Pack<WIDTH>*>(source), reads);
        }
    }

    // Do what `begin` has left to do, with the same `tile`.
    __device__ inline void end(Tile& tile) const {
#pragma unroll
        for (int i = 0; i < ITEMS; ++i) {
            if constexpr (STRAIGHT) {  // nothing
            } else if constexpr (K_RUNS) {
#pragma unroll
                for (int e = 0; e < WIDTH; ++e) tile[along() + e][across(i)] = staged[i].value[e];
            } else {
                *reinterpret_cast<Pack<WIDTH>*>(&tile[across(i)][along()]) = staged[i];
            }
        }
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

// Add this block's part of C = A B to `sum`, but for all chunks before the last, which are in c's memory. If
// `column_sums` is not null, the blocks of C's first row of tiles also store the sum over k of B(k, n) there, at n.
// `column_sums` and `c` are those of the block's split.
template <class A, class B, class C>
__device__ inline void add_products(Tiles& tiles, const Part& part, const A& a, const B& b, const C& c,
                                    REAL* column_sums, REAL (&sum)[TM][TN]) {
    Loader<A, BM> a_loader(a, part.first_m, part.first_k);
    Loader<B, BN> b_loader(b, part.first_n, part.first_k);
    REAL column_sum = 0;
    const bool sums_column = column_sums != nullptr && part.first_m == 0 && threadIdx.x < BN;

    if (threadIdx.x == 0) {
        tiles.first_m = part.first_m;
        tiles.first_n = part.first_n;
    }
    const int tile_count = static_cast<int>(part.tiles);
#pragma unroll
    for (int tile = 0; tile < DEPTH - 1; ++tile) {
        if (tile < a_loader.AHEAD && tile < tile_count) a_loader.begin(tiles.stage[tile].a);
        if (tile < b_loader.AHEAD && tile < tile_count) b_loader.begin(tiles.stage[tile].b);
        close_copies();
    }
    a_loader.end(tiles.stage[0].a);
    b_loader.end(tiles.stage[0].b);
    wait_for_copies<DEPTH - 2>();
    __syncthreads();
    int number = 0, before = DEPTH - 1;  // of the stage that is multiplied now, and of the one that was last
    for (int tile = 0;;) {
        const int chunk_end = C::GROWS ? min(tile + CHUNK_TILES, tile_count) : tile_count;
        for (; tile < chunk_end; ++tile) {
            const int after = number + 1 < DEPTH ? number + 1 : 0;
            const Stage& stage = tiles.stage[number];
            auto& next_a = tiles.stage[a_loader.AHEAD == 1 ? after : before].a;
            auto& next_b = tiles.stage[b_loader.AHEAD == 1 ? after : before].b;
            const bool more_a = tile + a_loader.AHEAD < tile_count, more_b = tile + b_loader.AHEAD < tile_count;
            if (more_a) a_loader.begin(next_a);
            if (more_b) b_loader.begin(next_b);
            close_copies();
            keep_order();
            multiply(stage.a, stage.b, sum);
            if (sums_column) {
#pragma unroll
                for (int k = 0; k < BK; ++k) column_sum += stage.b[k][threadIdx.x];
            }
            if (more_a) a_loader.end(next_a);
            if (more_b) b_loader.end(next_b);
            wait_for_copies<DEPTH - 2>();
            __syncthreads();
            before = number;
            number = after;
        }
        if constexpr (C::GROWS) {
            const bool chunks = tile > CHUNK_TILES;
            const Index column = tiles.first_n + threadIdx.x;
            if (sums_column && column < c.columns) {
                column_sums[column] = chunks ? column_sums[column] + column_sum : column_sum;
            }
            if (tile >= tile_count) break;
            column_sum = 0;  // the registers start a new chunk
            c.for_each_pack(tiles, [&](int i, int j, Index m, Index n) {
                REAL* const memory = c.data + c.offset(m, n);
                store_pack(memory, take_pack(sum, i, j, memory, c.columns - n, chunks), c.columns - n);
#pragma unroll
                for (int e = 0; e < PACK_N; ++e) sum[i][j + e] = 0;
            });
        } else {
            break;
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
