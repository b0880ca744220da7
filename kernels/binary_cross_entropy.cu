// Binary cross-entropy, averaged over the last axis, from logits z or from probabilities q; and its gradients.
//
// Math:     from logits:        e[i, j] = max(z, 0) - z t + log(1 + exp(-|z|)),    de/dz = 1 / (1 + exp(-z)) - t
//           from probabilities: e[i, j] = -t log c - (1 - t) log(1 - c),  c = clip(q, 1e-7, 1 - 1e-7);
//                               de/dq = (q - t) / (q (1 - q)) where q is not clipped, else 0
//           loss[i] = sum_j e[i, j] / columns;  dz or dq = de scale[i] / columns
//           t = keep targets + spread (label smoothing)
// Layout:   z, q, targets and the gradients (rows, columns), row-major; losses (rows); scale (1), or
//           (rows) if it is given per row
// Launch:   the losses one warp per row, THREADS / 32 rows a block; the gradients one thread per element
// Memory:   each array once; neighbouring lanes touch neighbouring elements
// Edges:    rows, columns >= 1; targets need not lie in [0, 1]
// Numerics: from logits no exponential overflows and nothing cancels for t in [0, 1]; the clipping bounds e by 16.2
// Cost:     an exponential and a logarithm per element forward, an exponential or two divisions backward
#include "common.cuh"
#include "probability.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_cross_entropy_logits(const REAL* __restrict__ z, const REAL* __restrict__ targets,
                                REAL* __restrict__ losses, REAL keep, REAL spread, Index rows, Index columns) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    z += row * columns;
    targets += row * columns;
    REAL sum = 0;
    for (Index j = lane; j < columns; j += WARP) {
        const REAL t = keep * targets[j] + spread;
        sum += fmax(z[j], static_cast<REAL>(0)) - z[j] * t + log1p(exp(-fabs(z[j])));
    }
    sum = warp_sum(sum);
    if (lane == 0) losses[row] = sum / static_cast<REAL>(columns);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_cross_entropy_logits_gradient(const REAL* __restrict__ z, const REAL* __restrict__ targets,
                                         const REAL* __restrict__ scale, REAL* __restrict__ dz, REAL keep, REAL spread,
                                         Index per_row, Index columns, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL t = keep * targets[i] + spread;
    const REAL e = exp(-fabs(z[i]));
    const REAL sigmoid = (z[i] >= 0 ? static_cast<REAL>(1) : e) / (1 + e);
    dz[i] = (sigmoid - t) * (scale[per_row == 0 ? 0 : i / columns] / static_cast<REAL>(columns));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_cross_entropy(const REAL* __restrict__ q, const REAL* __restrict__ targets, REAL* __restrict__ losses,
                         REAL keep, REAL spread, Index rows, Index columns) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    q += row * columns;
    targets += row * columns;
    REAL sum = 0;
    for (Index j = lane; j < columns; j += WARP) {
        const REAL t = keep * targets[j] + spread;
        const REAL c = clip(q[j]);
        sum -= t * log(c) + (1 - t) * log(1 - c);
    }
    sum = warp_sum(sum);
    if (lane == 0) losses[row] = sum / static_cast<REAL>(columns);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    binary_cross_entropy_gradient(const REAL* __restrict__ q, const REAL* __restrict__ targets,
                                  const REAL* __restrict__ scale, REAL* __restrict__ dq, REAL keep, REAL spread,
                                  Index per_row, Index columns, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL t = keep * targets[i] + spread;
    const REAL slope = is_clipped(q[i]) ? static_cast<REAL>(0) : (q[i] - t) / (q[i] * (1 - q[i]));
    dq[i] = slope * (scale[per_row == 0 ? 0 : i / columns] / static_cast<REAL>(columns));
}
