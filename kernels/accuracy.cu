// How often predictions match targets: added to the running totals of a metric.
//
// Math:     sparse:   match[i] = [argmax_j y[i, j] = label[i]]
//           dense:    match[i] = [argmax_j y[i, j] = argmax_j t[i, j]]
//           binary:   match[i] = [[y[i] > threshold] = t[i]];    equal: match[i] = [y[i] = t[i]]
//           for block b: state[b, 0] += sum of its matches / positions, state[b, 1] += number of its rows / positions
// Layout:   sparse, dense: y, t (rows, classes), row-major, labels (rows); binary, equal: y, t (rows). binary takes t
//           from `labels` where that is not null, else from `targets`. state (blocks, 2) in double; a sample has
//           `positions` rows
// Launch:   a fixed number of blocks at most, which stride over the rows: sparse, dense one warp per row, the lanes
//           stride over the classes; binary, equal one thread per row
// Memory:   each array once; neighbouring lanes touch neighbouring elements
// Edges:    rows, classes >= 1; a label outside 0 ... classes - 1 matches nothing
// Numerics: as numpy.argmax: the first of equal maxima, and the first NaN where there is one. Matches are counted in
//           integers; every block adds to totals of its own, so that their order is fixed
// Cost:     one comparison per element
#include "common.cuh"
#include "reduce.cuh"

// Whether element `a` at index i comes before element `b` at index j in the search for the maximum.
__device__ inline bool beats(REAL a, Index i, REAL b, Index j) {
    const bool a_is_nan = a != a, b_is_nan = b != b;
    if (a_is_nan != b_is_nan) return a_is_nan;
    return a > b || ((a == b || a_is_nan) && i < j);
}

// Index of the maximum of a row, the same in every lane of the warp.
__device__ inline Index argmax(const REAL* y, Index classes, int lane) {
    Index best = lane < classes ? lane : 0;  // lanes without an element look at element 0, which another lane holds too
    for (Index j = lane + WARP; j < classes; j += WARP) {
        if (beats(y[j], j, y[best], best)) best = j;
    }
    REAL top = y[best];
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        const REAL other_top = __shfl_xor_sync(ALL_LANES, top, apart);
        const Index other = __shfl_xor_sync(ALL_LANES, best, apart);
        if (beats(other_top, other, top, best)) {
            top = other_top;
            best = other;
        }
    }
    return best;
}

// Add what the threads of this block counted to its part of the state.
__device__ inline void add_to_state(Index matches, Index rows, double* state, Index positions, Index* shared) {
    matches = block_sum<THREADS>(matches, shared);
    rows = block_sum<THREADS>(rows, shared);
    if (threadIdx.x != 0) return;
    state[2 * blockIdx.x] += static_cast<double>(matches) / static_cast<double>(positions);
    state[2 * blockIdx.x + 1] += static_cast<double>(rows) / static_cast<double>(positions);
}

// Count the rows for which matches(row, lane), asked by all lanes of a warp, says yes to the first of them.
template <class Matches>
__device__ inline void count_rows_by_warp(Index rows, double* state, Index positions, Index* shared,
                                          const Matches& matches) {
    const int lane = threadIdx.x % WARP;
    Index count = 0, seen = 0;
    for (Index row = global_thread() / WARP; row < rows; row += static_cast<Index>(gridDim.x) * (THREADS / WARP)) {
        const bool match = matches(row, lane);
        count += lane == 0 && match;
        seen += lane == 0;
    }
    add_to_state(count, seen, state, positions, shared);
}

// Count the rows for which matches(row), asked by one thread, says yes.
template <class Matches>
__device__ inline void count_rows(Index rows, double* state, Index positions, Index* shared, const Matches& matches) {
    Index count = 0, seen = 0;
    for (Index row = global_thread(); row < rows; row += static_cast<Index>(gridDim.x) * THREADS) {
        count += matches(row);
        ++seen;
    }
    add_to_state(count, seen, state, positions, shared);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sparse_matches(const REAL* __restrict__ y, const int* __restrict__ labels, double* __restrict__ state,
                   Index positions, Index rows, Index classes) {
    __shared__ Index shared[THREADS / WARP];
    count_rows_by_warp(rows, state, positions, shared, [=](Index row, int lane) {
        return argmax(y + row * classes, classes, lane) == labels[row];
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    dense_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, double* __restrict__ state, Index positions,
                  Index rows, Index classes) {
    __shared__ Index shared[THREADS / WARP];
    count_rows_by_warp(rows, state, positions, shared, [=](Index row, int lane) {
        return argmax(y + row * classes, classes, lane) == argmax(t + row * classes, classes, lane);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_matches(const REAL* __restrict__ y, const REAL* __restrict__ targets, const int* __restrict__ labels,
                   double* __restrict__ state, Index positions, Index rows, REAL threshold) {
    __shared__ Index shared[THREADS / WARP];
    count_rows(rows, state, positions, shared, [=](Index row) {
        const REAL target = labels != nullptr ? static_cast<REAL>(labels[row]) : targets[row];
        return (y[row] > threshold ? REAL(1) : REAL(0)) == target;
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    equal_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, double* __restrict__ state, Index positions,
                  Index rows) {
    __shared__ Index shared[THREADS / WARP];
    count_rows(rows, state, positions, shared, [=](Index row) { return y[row] == t[row]; });
}
