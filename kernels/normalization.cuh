// Shared by normalization.cu and normalization_gradient.cu: which elements a thread works on, and sums over a group.
//
// An array of n elements is seen with five axes (r0, k0, r1, k1, r2), the view. All elements with equal indices on the
// kept axes, k0 and k1, form a group; group a k1 + b has the elements p r1 r2 + q r2 + s, in this order. A block has
// GROUPS groups, a thread each LANES-th element of one of them, in chunk blockIdx.y of `chunk` elements. With COLUMNS,
// where groups are neighbours in memory, so are the threads of one lane; else the lanes of one group are.
#include "common.cuh"
#include "reduce.cuh"

#define VIEW Index r0, Index k0, Index r1, Index k1, Index r2
#define THIS_VIEW {r0, k0, r1, k1, r2}

constexpr int THREADS = GROUPS * LANES;
// Blocks that a multiprocessor is to hold. Not told, compilers aim at more, and spill registers for it where a loop has
// divisions; so a thread has 64.
constexpr int RESIDENT = 4;
static_assert(COLUMNS || LANES == WARP || LANES == THREADS, "the lanes of a group are a warp or the block");

struct View {
    Index r0, k0, r1, k1, r2;
    __device__ Index groups() const { return k0 * k1; }
    __device__ Index terms() const { return r0 * r1 * r2; }
};

// The elements of this thread: first, first + LANES, ... below last, of `group`; none past the last group.
struct Share {
    View view;
    Index group, first, last, start, stride;

    __device__ Share(const View& view, Index chunk) : view(view) {
        const int lane = this_lane();
        group = static_cast<Index>(blockIdx.x) * GROUPS + (COLUMNS ? threadIdx.x % GROUPS : threadIdx.x / LANES);
        const Index begin = blockIdx.y * chunk, end = begin + chunk, terms = view.terms();
        first = begin + lane;
        last = group < view.groups() ? (end < terms ? end : terms) : 0;
        start = general(0);
        stride = terms > 1 ? general(1) - start : 0;
    }

    __device__ static int this_lane() { return COLUMNS ? threadIdx.x / GROUPS : threadIdx.x % LANES; }
    __device__ bool exists() const { return group < view.groups(); }

    // Whether this thread is the one that writes what a group has once.
    __device__ bool leads() const { return exists() && this_lane() == 0 && blockIdx.y == 0; }

    // Where element e lies. In most views only one reduced axis is longer than 1: ONE_RUN.
    __device__ Index at(Index e) const { return ONE_RUN ? start + e * stride : general(e); }

    __device__ Index general(Index e) const {
        const Index a = group / view.k1, b = group % view.k1;
        const Index p = e / (view.r1 * view.r2), q = e / view.r2 % view.r1, s = e % view.r2;
        return (((p * view.k0 + a) * view.r1 + q) * view.k1 + b) * view.r2 + s;
    }
};

// How parameters belong to groups: one a group (batch normalization), one an element, the same for all groups (layer
// normalization), or one a channel, where channels form groups: group (n, g) of the view (1, n, before, groups,
// per_group after) has the channels g per_group to (g + 1) per_group - 1.
constexpr int BY_GROUP = 0, BY_ELEMENT = 1, BY_CHANNEL = 2;

// How often a loop over elements is unrolled: divisions in many copies would spill registers.
constexpr int UNROLL = ONE_RUN && PARAMETERS != BY_CHANNEL ? 2 : 1;

// Sum over the lanes of a group, for all of them, in a fixed order; all threads of the block call it together.
// `shared` has THREADS elements and may be used again at once.
__device__ inline REAL group_sum(REAL value, REAL* shared) {
    if (!COLUMNS) return LANES == WARP ? warp_sum(value) : block_sum<THREADS < WARP ? WARP : THREADS>(value, shared);
    shared[threadIdx.x] = value;
    __syncthreads();
    REAL sum = 0;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) sum += shared[lane * GROUPS + threadIdx.x % GROUPS];
    __syncthreads();
    return sum;
}

#define CHANNELS Index before, Index groups, Index per_group, Index after
#define THESE_CHANNELS {before, groups, per_group, after}

struct Channels {
    Index before, groups, per_group, after;

    // Number of the parameter of element e of a group.
    __device__ Index parameter(Index group, Index e) const {
        if (PARAMETERS == BY_GROUP) return group;
        if (PARAMETERS == BY_ELEMENT) return e;
        return group % groups * per_group + e % (per_group * after) / after;
    }

    // Number of the group whose statistics hold for element e of those of parameter `number`; views of parameters by
    // channel are (n before, channels, after, 1, 1).
    __device__ Index group_of(Index number, Index e) const {
        if (PARAMETERS == BY_GROUP) return number;
        if (PARAMETERS == BY_ELEMENT) return e;
        return e / after / before * groups + number / per_group;
    }
};

// What backward adds up over a group: w dy, and w dy xhat with xhat = (x - mean) scale.
struct Sums {
    REAL dy, dy_xhat;
};
