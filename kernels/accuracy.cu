// How often predictions match targets: added to the running totals of a metric.
//
// Math:     sparse:   match[i] = [argmax_j y[i, j] = label[i]]
//           dense:    match[i] = [argmax_j y[i, j] = argmax_j t[i, j]]
//           with k > 0 both: match[i] = [fewer than k of y[i, :] are greater than that of the target's class]
//           sorted:   match[i] = [t[i] is among y[i, 0 ... k - 1]]
//           binary:   match[i] = [[y[i] > threshold] = t[i]];    equal: match[i] = [y[i] = t[i]]
//           for block b: state[b, 0] += sum of w match over its rows / positions, state[b, 1] += sum of w / positions
// Layout:   sparse, dense, sorted: y, t (rows, classes), row-major, but t (rows) for sorted; labels (rows); binary,
//           equal: y, t (rows). binary takes t from `labels` where that is not null, else from `targets`.
//           weights (rows / repeats) or null for 1; state (blocks, 2) in double; a sample has `positions` rows
// Launch:   a fixed number of blocks at most, which stride over the rows: sparse, dense, sorted one warp per row, the
//           lanes stride over the classes; binary, equal one thread per row
// Memory:   each array once; neighbouring lanes touch neighbouring elements
// Edges:    rows, classes >= 1; a label outside 0 ... classes - 1 matches nothing
// Numerics: as numpy.argmax: the first of equal maxima, and the first NaN where there is one. Of the k largest are all
//           that equal the last of them; a NaN is greater than all. Sums are in double, exact without weights; every
//           block adds to totals of its own, so that their order is fixed
// Cost:     one comparison per element
#include "common.cuh"
#include "reduce.cuh"
#include "argmax.cuh"
#include "tally.cuh"

// Whether fewer than k of a row are greater than that of class `label`, which must be one; the same in every lane.
__device__ inline bool is_among_largest(const REAL* y, Index classes, Index label, Index k, int lane) {
    Index greater = 0;
    for (Index j = lane; j < classes; j += WARP) greater += !(y[j] <= y[label]);
    return warp_sum(greater) < k;
}

// Whether `label` is what the row predicts: its maximum, or with k > 0 one of its k largest.
__device__ inline bool is_predicted(const REAL* y, Index classes, Index label, Index k, int lane) {
    if (label < 0 || label >= classes) return false;  // for all lanes together
    return k > 0 ? is_among_largest(y, classes, label, k, lane) : argmax(y, classes, lane) == label;
}

// Count the rows for which matches(row, lane), asked by all lanes of a warp, says yes to the first of them.
template <class Matches>
__device__ inline void count_rows_by_warp(Index rows, double* state, Index positions, const REAL* weights,
                                          Index repeats, double* shared, const Matches& matches) {
    const int lane = threadIdx.x % WARP;
    const Index first = global_thread() / WARP, stride = static_cast<Index>(gridDim.x) * (THREADS / WARP);
    Tally tally(state, positions, weights, repeats, first, stride);
    for (Index row = first; row < rows; row += stride) {
        const bool match = matches(row, lane);
        if (lane == 0) tally.take(match ? 1 : 0);
    }
    tally.finish(shared);
}

// Count the rows for which matches(row), asked by one thread, says yes.
template <class Matches>
__device__ inline void count_rows(Index rows, double* state, Index positions, const REAL* weights, Index repeats,
                                  double* shared, const Matches& matches) {
    const Index first = global_thread(), stride = static_cast<Index>(gridDim.x) * THREADS;
    Tally tally(state, positions, weights, repeats, first, stride);
    for (Index row = first; row < rows; row += stride) tally.take(matches(row) ? 1 : 0);
    tally.finish(shared);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sparse_matches(const REAL* __restrict__ y, const int* __restrict__ labels, double* __restrict__ state,
                   Index positions, const REAL* __restrict__ weights, Index repeats, Index rows, Index classes,
                   Index k) {
    __shared__ double shared[THREADS / WARP];
    count_rows_by_warp(rows, state, positions, weights, repeats, shared, [=](Index row, int lane) {
        return is_predicted(y + row * classes, classes, labels[row], k, lane);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    dense_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, double* __restrict__ state, Index positions,
                  const REAL* __restrict__ weights, Index repeats, Index rows, Index classes, Index k) {
    __shared__ double shared[THREADS / WARP];
    count_rows_by_warp(rows, state, positions, weights, repeats, shared, [=](Index row, int lane) {
        const Index label = argmax(t + row * classes, classes, lane);
        return is_predicted(y + row * classes, classes, label, k, lane);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sorted_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, double* __restrict__ state, Index positions,
                   const REAL* __restrict__ weights, Index repeats, Index rows, Index classes, Index k) {
    __shared__ double shared[THREADS / WARP];
    count_rows_by_warp(rows, state, positions, weights, repeats, shared, [=](Index row, int lane) {
        Index found = 0;
        for (Index j = lane; j < classes && j < k; j += WARP) found += y[row * classes + j] == t[row];
        return warp_sum(found) > 0;
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_matches(const REAL* __restrict__ y, const REAL* __restrict__ targets, const int* __restrict__ labels,
                   double* __restrict__ state, Index positions, const REAL* __restrict__ weights, Index repeats,
                   Index rows, REAL threshold) {
    __shared__ double shared[THREADS / WARP];
    count_rows(rows, state, positions, weights, repeats, shared, [=](Index row) {
        const REAL target = labels != nullptr ? static_cast<REAL>(labels[row]) : targets[row];
        return (y[row] > threshold ? REAL(1) : REAL(0)) == target;
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    equal_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, double* __restrict__ state, Index positions,
                  const REAL* __restrict__ weights, Index repeats, Index rows) {
    __shared__ double shared[THREADS / WARP];
    count_rows(rows, state, positions, weights, repeats, shared, [=](Index row) { return y[row] == t[row]; });
}
