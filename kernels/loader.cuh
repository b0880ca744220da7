// The tiles of A and B in shared memory that gemm.cuh multiplies, and how they get there.
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
#include "common.cuh"
#include "packs.cuh"
#include "ptx.cuh"

constexpr int THREADS_M = BM / TM;
constexpr int THREADS_N = BN / TN;
constexpr int THREADS = THREADS_M * THREADS_N;
static_assert(BM % TM == 0 && BN % TN == 0, "a block's tile must be whole tiles of threads");
// Blocks that a multiprocessor shall hold at least. MOST_BLOCKS leave a thread 128 registers (255 of doubles, which take
// two each). That is too few where elements pass through registers on their way, or move one by one, or where windows
// are computed.
constexpr int MOST_BLOCKS = (sizeof(REAL) == 4 ? 512 : 256) / THREADS;
constexpr int FEWER_BLOCKS = (MOST_BLOCKS + 1) / 2;
constexpr int BLOCKS = ASYNC_COPIES && A_WIDTH > 1 && B_WIDTH > 1 ? MOST_BLOCKS : FEWER_BLOCKS;
// Tiles that shared memory holds. Only copies that need no registers can be under way for more than the next one.
constexpr int DEPTH = ASYNC_COPIES ? STAGES : 2;

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
