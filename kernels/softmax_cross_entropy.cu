// Softmax and cross-entropy in one, from logits: losses, and the gradient of the logits at once.
//
// Math:     p[i, j] = exp(z[i, j] - m[i]) / s[i],  m[i] = max_k z[i, k],  s[i] = sum_k exp(z[i, k] - m[i])
//           sparse: loss[i] = log s[i] - (z[i, label[i]] - m[i]);  dz[i, j] = scale (p[i, j] - [j = label[i]])
//           dense:  loss[i] = sum_j t[i, j] (log s[i] - (z[i, j] - m[i]));
//                   dz[i, j] = scale (p[i, j] sum_k t[i, k] - t[i, j]),  t = keep targets + spread (label smoothing)
//           *_total:  value = sum_i loss[i] / divisor;  record[0] += value samples, record[1] += samples
// Layout:   z, dz, targets (rows, classes), row-major; labels, losses (rows); value (1); record (2) in double, may be
//           null
// Launch:   one warp per row, THREADS / 32 rows a block; the lanes stride over the row's classes. *_total: one block,
//           whose warps stride over the rows
// Memory:   z (and targets) are read twice, the second time from cache; dz is written once
// Edges:    rows, classes >= 1. A label equal to `ignored` gives loss and gradient 0; every other label is from 0 to
//           classes - 1, which the host has checked. -infinity (or below -3.4e38) gives probability 0
// Numerics: one pass finds m and s together, s rescaled whenever m grows (Milakov & Gimelshein 2018, "Online normalizer
//           calculation for softmax"). s is at least 1, and both terms of the loss are at least 0: nothing cancels
//           The sum of the losses is taken in double, in an order that depends on the number of rows alone
// Cost:     two exponentials and one division per element, and four other operations
#include "common.cuh"
#include "reduce.cuh"

constexpr REAL LOWEST = static_cast<REAL>(-3.4e38);

// The largest logit of a row, and the sum of the exponentials of all logits less the largest.
struct Normalizer {
    REAL top, sum;
};

__device__ inline Normalizer normalizer(const REAL* z, Index classes, int lane) {
    REAL top = LOWEST, sum = 0;
    for (Index j = lane; j < classes; j += WARP) {
        if (z[j] <= top) {
            sum += exp(z[j] - top);
        } else {
            sum = fma(sum, exp(top - z[j]), static_cast<REAL>(1));
            top = z[j];
        }
    }
    const REAL highest = warp_max(top);
    return {highest, warp_sum(sum * exp(top - highest))};
}

// Where the rows of a batch lie; a warp works on one row.
struct Rows {
    const REAL* z;
    REAL* dz;
    REAL scale;
    Index classes;

    // Write a row of dz for a label, and return the loss in lane 0.
    __device__ inline REAL operator()(Index row, int lane, const int* labels, Index ignored) const {
        const REAL* const from = z + row * classes;
        const Normalizer all = normalizer(from, classes, lane);
        const int label = labels[row];
        const bool counts = label != ignored;
        for (Index j = lane; j < classes; j += WARP) {
            const REAL one = j == label ? 1 : 0;
            dz[row * classes + j] = counts ? (exp(from[j] - all.top) / all.sum - one) * scale : REAL(0);
        }
        return lane == 0 && counts ? log(all.sum) - (from[label] - all.top) : REAL(0);
    }

    // Likewise for a distribution.
    __device__ inline REAL operator()(Index row, int lane, const REAL* targets, REAL keep, REAL spread) const {
        const REAL* const from = z + row * classes;
        targets += row * classes;
        const Normalizer all = normalizer(from, classes, lane);
        const REAL log_sum = log(all.sum);
        REAL loss = 0, weight = 0;
        for (Index j = lane; j < classes; j += WARP) {
            const REAL t = keep * targets[j] + spread;
            loss += t * (log_sum - (from[j] - all.top));
            weight += t;
        }
        loss = warp_sum(loss);
        weight = warp_sum(weight);
        // Not unrolled: that would spill registers on sm_90.
#pragma unroll 1
        for (Index j = lane; j < classes; j += WARP) {
            const REAL t = keep * targets[j] + spread;
            dz[row * classes + j] = (exp(from[j] - all.top) / all.sum * weight - t) * scale;
        }
        return loss;
    }
};

// Add up the losses that loss_of(row, lane) returns in lane 0, and record them; for a grid of one block.
template <class Loss>
__device__ inline void total(Index rows, REAL* value, double* record, Index divisor, Index samples, double* shared,
                             const Loss& loss_of) {
    const int lane = threadIdx.x % WARP;
    double sum = 0;
    for (Index row = threadIdx.x / WARP; row < rows; row += THREADS / WARP) {
        const REAL loss = loss_of(row, lane);
        if (lane == 0) sum += loss;
    }
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x != 0) return;
    value[0] = static_cast<REAL>(sum / static_cast<double>(divisor));
    if (record == nullptr) return;
    record[0] += static_cast<double>(value[0]) * static_cast<double>(samples);
    record[1] += static_cast<double>(samples);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy(const REAL* __restrict__ z, const int* __restrict__ labels, REAL* __restrict__ losses,
                          REAL* __restrict__ dz, REAL scale, Index rows, Index classes, Index ignored) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const REAL loss = Rows{z, dz, scale, classes}(row, lane, labels, ignored);
    if (lane == 0) losses[row] = loss;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_total(const REAL* __restrict__ z, const int* __restrict__ labels, REAL* __restrict__ value,
                                double* __restrict__ record, REAL* __restrict__ dz, REAL scale, Index rows,
                                Index classes, Index ignored, Index divisor, Index samples) {
    __shared__ double shared[THREADS / WARP];
    const Rows of{z, dz, scale, classes};
    total(rows, value, record, divisor, samples, shared,
          [=](Index row, int lane) { return of(row, lane, labels, ignored); });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_dense(const REAL* __restrict__ z, const REAL* __restrict__ targets,
                                REAL* __restrict__ losses, REAL* __restrict__ dz, REAL scale, REAL keep, REAL spread,
                                Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const REAL loss = Rows{z, dz, scale, classes}(row, lane, targets, keep, spread);
    if (lane == 0) losses[row] = loss;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_dense_total(const REAL* __restrict__ z, const REAL* __restrict__ targets,
                                      REAL* __restrict__ value, double* __restrict__ record, REAL* __restrict__ dz,
                                      REAL scale, REAL keep, REAL spread, Index rows, Index classes, Index divisor,
                                      Index samples) {
    __shared__ double shared[THREADS / WARP];
    const Rows of{z, dz, scale, classes};
    total(rows, value, record, divisor, samples, shared,
          [=](Index row, int lane) { return of(row, lane, targets, keep, spread); });
}
