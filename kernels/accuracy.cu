// Matches between predictions and targets: one byte a row or element, 1 where they agree.
//
// Math:     sparse:   match[i] = [argmax_j y[i, j] = label[i]];  dense: match[i] = [argmax_j y[i, j] = argmax_j t[i, j]]
//           binary:   match[i] = [[y[i] > threshold] = t[i]];    equal: match[i] = [y[i] = t[i]]
// Layout:   sparse, dense: y, t (rows, classes), row-major, labels, matches (rows); binary, equal: y, t, matches (n).
//           binary takes t from `labels` where that is not null, else from `targets`
// Launch:   sparse, dense: one warp per row, THREADS / 32 rows a block, the lanes stride over the classes;
//           binary, equal: one thread per element
// Memory:   each array once; neighbouring lanes touch neighbouring elements
// Edges:    rows, classes, n >= 1; a label outside 0 ... classes - 1 matches nothing
// Numerics: as numpy.argmax: the first of equal maxima, and the first NaN where there is one
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

extern "C" __global__ void __launch_bounds__(THREADS)
    sparse_matches(const REAL* __restrict__ y, const int* __restrict__ labels, unsigned char* __restrict__ matches,
                   Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Index predicted = argmax(y + row * classes, classes, lane);
    if (lane == 0) matches[row] = predicted == labels[row] ? 1 : 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    dense_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, unsigned char* __restrict__ matches,
                  Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const Index predicted = argmax(y + row * classes, classes, lane);
    const Index wanted = argmax(t + row * classes, classes, lane);
    if (lane == 0) matches[row] = predicted == wanted ? 1 : 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_matches(const REAL* __restrict__ y, const REAL* __restrict__ targets, const int* __restrict__ labels,
                   unsigned char* __restrict__ matches, REAL threshold, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL target = labels != nullptr ? static_cast<REAL>(labels[i]) : targets[i];
    const REAL predicted = y[i] > threshold ? 1 : 0;
    matches[i] = predicted == target ? 1 : 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    equal_matches(const REAL* __restrict__ y, const REAL* __restrict__ t, unsigned char* __restrict__ matches,
                  Index n) {
    const Index i = global_thread();
    if (i < n) matches[i] = y[i] == t[i] ? 1 : 0;
}
