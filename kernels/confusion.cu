// How predictions and targets go together: added to the counts of a metric.
//
// Math:     confusion_counts: positive = [y > threshold], for `even` thresholds i / (levels - 1), i = 0 ... levels - 1:
//           positive = [i <= max(ceil(min(max(y, 0), 1) (levels - 1)) - 1, least)]; the truth t is [targets != 0], or
//           with `soft` targets themselves. For part p, class c, threshold i, over the part's elements of the class:
//           state[p, c, i] += sum w ([positive] t, [positive] (1 - t), [else] (1 - t), [else] t)
//           confusion_matrix: state[a, b] += sum over i with truth[i] = a != ignored, prediction[i] = b of w[i], whose
//           fraction is cut off where `whole`
// Layout:   y, targets (rows, columns), of which classes are columns from `first` on; thresholds (levels), not read
//           where even; weights (elements / repeats), or null for 1, label_weights (labels), or null for 1, for
//           elements modulo labels; state (parts, classes, levels, 4) in double: true positives, false positives, true
//           negatives, false negatives. truth, prediction (n) integers, state (classes, classes) in double
// Launch:   a block of THREADS for each part, class and threshold, whose threads stride over rows; a block for each pair
//           of classes, whose threads stride over all elements
// Memory:   arrays once for every threshold, or pair of classes, from the cache after the first
// Edges:    rows, columns, levels >= 1; NaN is not above a threshold, and lies at 0 for even ones; labels outside
//           0 ... classes - 1 count nowhere
// Numerics: even thresholds are compared as Keras does it, by one product in REAL; sums are in double and in a fixed
//           order, exact without weights
// Cost:     one comparison and four additions per element and threshold; one comparison per element and pair
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    confusion_counts(const REAL* __restrict__ y, const REAL* __restrict__ targets,
                     const REAL* __restrict__ thresholds, const REAL* __restrict__ weights,
                     const REAL* __restrict__ label_weights, double* __restrict__ state, Index rows, Index columns,
                     Index first, Index classes, Index levels, Index parts, Index repeats, Index labels, Index least,
                     Index soft) {
    __shared__ double shared[THREADS / WARP];
    const Index level = blockIdx.x % levels, column = first + blockIdx.x / levels % classes;
    const Index part = blockIdx.x / (levels * classes);
    double sums[4] = {0, 0, 0, 0};
    for (Index row = part * THREADS + threadIdx.x; row < rows; row += parts * THREADS) {
        const Index i = row * columns + column;
        bool positive;
        if (thresholds != nullptr) {
            positive = y[i] > thresholds[level];
        } else {
            const REAL inside = fmin(fmax(y[i], REAL(0)), REAL(1));
            const Index bucket = static_cast<Index>(ceil(inside * static_cast<REAL>(levels - 1))) - 1;
            positive = level <= (bucket > least ? bucket : least);
        }
        const double truth = soft != 0 ? static_cast<double>(targets[i]) : (targets[i] != REAL(0) ? 1.0 : 0.0);
        double weight = weights == nullptr ? 1 : static_cast<double>(weights[i / repeats]);
        if (label_weights != nullptr) weight *= static_cast<double>(label_weights[i % labels]);
        const double yes = weight * truth, no = weight * (1 - truth);
        sums[0] += positive ? yes : 0;
        sums[1] += positive ? no : 0;
        sums[2] += positive ? 0 : no;
        sums[3] += positive ? 0 : yes;
    }
#pragma unroll
    for (int kind = 0; kind < 4; ++kind) {
        const double sum = block_sum<THREADS>(sums[kind], shared);
        if (threadIdx.x == 0) state[4 * static_cast<Index>(blockIdx.x) + kind] += sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    confusion_matrix(const int* __restrict__ truth, const int* __restrict__ prediction,
                     const REAL* __restrict__ weights, double* __restrict__ state, Index n, Index classes,
                     Index repeats, Index ignored, Index whole) {
    __shared__ double shared[THREADS / WARP];
    const Index row = blockIdx.x / classes, column = blockIdx.x % classes;
    double sum = 0;
    for (Index i = threadIdx.x; i < n; i += THREADS) {
        if (truth[i] != row || prediction[i] != column || row == ignored) continue;
        const double weight = weights == nullptr ? 1 : static_cast<double>(weights[i / repeats]);
        sum += whole != 0 ? static_cast<double>(static_cast<Index>(weight)) : weight;
    }
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0) state[blockIdx.x] += sum;
}
