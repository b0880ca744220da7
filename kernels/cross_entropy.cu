// Cross-entropy from probabilities, which are first divided by their sum and clipped, as Keras does; and its gradient.
//
// Math:     q[i, j] = p[i, j] / total[i],  total[i] = sum_k p[i, k],  c = clip(q, 1e-7, 1 - 1e-7)
//           sparse: loss[i] = -log c[i, label[i]]
//                   dp[i, j] = scale[i] (1 - [j = label[i]] / q[i, j]) / total[i] if q[i, label[i]] is not clipped, else 0
//           dense:  loss[i] = -sum_j t[i, j] log c[i, j],  weight[i] = sum of those t[i, j] whose q is not clipped
//                   dp[i, j] = scale[i] (weight[i] - [q[i, j] is not clipped] t[i, j] / q[i, j]) / total[i]
//                   t = keep targets + spread (label smoothing)
// Layout:   p, dp, targets (rows, classes), row-major; labels, losses, totals, weights (rows); scale (1), or (rows) if
//           it is given per row
// Launch:   one warp per row, THREADS / 32 rows a block; the lanes stride over the row's classes
// Memory:   each array once, but for p in the dense form, which is read twice, the second time from cache
// Edges:    rows, classes >= 1. A label equal to `ignored` gives loss and gradient 0; every other label is from 0 to
//           classes - 1, which the host has checked
// Numerics: the clipping bounds the loss by 16.2 per unit of target, and 1 / q by 1e7
// Cost:     sparse one addition forward and one division backward per element; dense a logarithm more
#include "common.cuh"
#include "probability.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy(const REAL* __restrict__ p, const int* __restrict__ labels, REAL* __restrict__ losses,
                  REAL* __restrict__ totals, Index rows, Index classes, Index ignored) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    p += row * classes;
    REAL total = 0;
    for (Index j = lane; j < classes; j += WARP) total += p[j];
    total = warp_sum(total);
    if (lane == 0) {
        const int label = labels[row];
        losses[row] = label == ignored ? static_cast<REAL>(0) : -log(clip(p[label] / total));
        totals[row] = total;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy_gradient(const REAL* __restrict__ p, const int* __restrict__ labels, const REAL* __restrict__ totals,
                           const REAL* __restrict__ scale, REAL* __restrict__ dp, Index per_row, Index rows,
                           Index classes, Index ignored) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    p += row * classes;
    dp += row * classes;
    const int label = labels[row];
    const REAL q = label == ignored ? static_cast<REAL>(0) : p[label] / totals[row];
    const REAL factor = is_clipped(q) ? static_cast<REAL>(0) : scale[per_row == 0 ? 0 : row] / totals[row];
    for (Index j = threadIdx.x % WARP; j < classes; j += WARP) {
        const REAL inverse = j == label ? 1 / q : static_cast<REAL>(0);
        dp[j] = factor == 0 ? static_cast<REAL>(0) : (1 - inverse) * factor;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy_dense(const REAL* __restrict__ p, const REAL* __restrict__ targets, REAL* __restrict__ losses,
                        REAL* __restrict__ totals, REAL* __restrict__ weights, REAL keep, REAL spread, Index rows,
                        Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    p += row * classes;
    targets += row * classes;
    REAL total = 0;
    for (Index j = lane; j < classes; j += WARP) total += p[j];
    total = warp_sum(total);
    REAL loss = 0, weight = 0;
    for (Index j = lane; j < classes; j += WARP) {
        const REAL q = p[j] / total;
        const REAL t = keep * targets[j] + spread;
        loss -= t * log(clip(q));
        weight += is_clipped(q) ? static_cast<REAL>(0) : t;
    }
    loss = warp_sum(loss);
    weight = warp_sum(weight);
    if (lane == 0) {
        losses[row] = loss;
        totals[row] = total;
        weights[row] = weight;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy_dense_gradient(const REAL* __restrict__ p, const REAL* __restrict__ targets,
                                 const REAL* __restrict__ totals, const REAL* __restrict__ weights,
                                 const REAL* __restrict__ scale, REAL* __restrict__ dp, REAL keep, REAL spread,
                                 Index per_row, Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    p += row * classes;
    dp += row * classes;
    targets += row * classes;
    const REAL total = totals[row], weight = weights[row];
    const REAL factor = scale[per_row == 0 ? 0 : row] / total;
    // Not unrolled: that would spill registers on sm_90 and sm_120.
#pragma unroll 1
    for (Index j = threadIdx.x % WARP; j < classes; j += WARP) {
        const REAL q = p[j] / total;
        const REAL t = keep * targets[j] + spread;
        dp[j] = (weight - (is_clipped(q) ? static_cast<REAL>(0) : t / q)) * factor;
    }
}
