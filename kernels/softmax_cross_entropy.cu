// Softmax and cross-entropy in one, from logits: losses, and the gradient of the logits at once.
//
// Math:     p[i, j] = exp(z[i, j] - m[i]) / s[i],  m[i] = max_k z[i, k],  s[i] = sum_k exp(z[i, k] - m[i])
//           sparse: loss[i] = log s[i] - (z[i, label[i]] - m[i]);  dz[i, j] = scale w[i] (p[i, j] - [j = label[i]])
//           dense:  loss[i] = sum_j t[i, j] (log s[i] - (z[i, j] - m[i]));
//                   dz[i, j] = scale w[i] (p[i, j] sum_k t[i, k] - t[i, j]),  t = keep targets + spread (label smoothing)
//           w[i] = weights[i / repeats], 1 without weights
//           *_total:  value = sum_i w[i] loss[i] / divisor, where the weights divide the sum of the weights for the
//                   divisor, and scale / divisor for scale, both 0 if the sum is
//                   record[0] += value samples, record[1] += samples
// Layout:   z, dz, targets (rows, classes), row-major; labels, losses (rows); weights (rows / repeats) may be null;
//           value (1); record (2) in double, may be null
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
#pragma unroll 1
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

// The weight of a row.
__device__ inline REAL weight_of(Index row, const REAL* weights, Index repeats) {
    return weights == nullptr ? static_cast<REAL>(1) : weights[row / repeats];
}

// What the derivatives of a row are multiplied by; asked for where it is used, or registers would spill.
struct Scale {
    REAL factor;
    const REAL* weights;
    Index repeats;

    __device__ inline REAL operator()(Index row) const { return factor * weight_of(row, weights, repeats); }
};

// Where the rows of a batch lie; a warp works on one row.
struct Rows {
    const REAL* z;
    REAL* dz;
    Index classes;

    // Write a row of dz, `scale` times the derivatives, for a label, and return the loss in lane 0.
    __device__ inline REAL operator()(Index row, int lane, const Scale& scale_of, const int* labels,
                                      Index ignored) const {
        const REAL* const from = z + row * classes;
        const Normalizer all = normalizer(from, classes, lane);
        const int label = labels[row];
        const bool counts = label != ignored;
        const REAL scale = scale_of(row);
        // Not unrolled, here and below: that would spill registers on sm_80, sm_90 and sm_120.
#pragma unroll 1
        for (Index j = lane; j < classes; j += WARP) {
            const REAL one = j == label ? 1 : 0;
            dz[row * classes + j] = counts ? (exp(from[j] - all.top) / all.sum - one) * scale : REAL(0);
        }
        return lane == 0 && counts ? log(all.sum) - (from[label] - all.top) : REAL(0);
    }

    // Likewise for a distribution.
    __device__ inline REAL operator()(Index row, int lane, const Scale& scale_of, const REAL* targets, REAL keep,
                                      REAL spread) const {
        const REAL* const from = z + row * classes;
        targets += row * classes;
        const Normalizer all = normalizer(from, classes, lane);
        const REAL log_sum = log(all.sum);
        REAL loss = 0, weight = 0;
#pragma unroll 1
        for (Index j = lane; j < classes; j += WARP) {
            const REAL t = keep * targets[j] + spread;
            loss += t * (log_sum - (from[j] - all.top));
            weight += t;
        }
        loss = warp_sum(loss);
        weight = warp_sum(weight);
        const REAL scale = scale_of(row);
#pragma unroll 1
        for (Index j = lane; j < classes; j += WARP) {
            const REAL t = keep * targets[j] + spread;
            dz[row * classes + j] = (exp(from[j] - all.top) / all.sum * weight - t) * scale;
        }
        return loss;
    }
};


// Which weights the losses have, and what their sum is divided by.
struct Division {
    const REAL* weights;
    Index repeats, divide, divisor;

    // The divisor, the same in all threads of a grid of one block.
    __device__ inline double operator()(Index rows, double* shared) const {
        if (divide == 0) return static_cast<double>(divisor);
        double sum = 0;
#pragma unroll 1
        for (Index i = threadIdx.x; i < rows / repeats; i += THREADS) sum += weights[i];
        return block_sum<THREADS>(sum, shared);
    }
};

// Add up the losses that of(row, lane, scale of the row, how...) returns in lane 0, and record them; for one block.
template <class... How>
__device__ inline void total(const Rows& of, Index rows, REAL scale, REAL* value, double* record, Index samples,
                             const Division& division, double* shared, How... how) {
    const int lane = threadIdx.x % WARP;
    const double divisor = division(rows, shared);
    if (division.divide != 0) scale *= static_cast<REAL>(divisor == 0 ? 0 : 1 / divisor);
    double sum = 0;
#pragma unroll 1
    for (Index row = threadIdx.x / WARP; row < rows; row += THREADS / WARP) {
        const REAL loss = of(row, lane, Scale{scale, division.weights, division.repeats}, how...);
        const REAL weight = weight_of(row, division.weights, division.repeats);
        if (lane == 0) sum += static_cast<double>(weight) * static_cast<double>(loss);
    }
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x != 0) return;
    value[0] = static_cast<REAL>(divisor == 0 ? 0 : sum / divisor);
    if (record == nullptr) return;
    record[0] += static_cast<double>(value[0]) * static_cast<double>(samples);
    record[1] += static_cast<double>(samples);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy(const REAL* __restrict__ z, const int* __restrict__ labels, REAL* __restrict__ losses,
                          REAL* __restrict__ dz, REAL scale, Index rows, Index classes, Index ignored,
                          const REAL* __restrict__ weights, Index repeats) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const REAL loss = Rows{z, dz, classes}(row, lane, Scale{scale, weights, repeats}, labels, ignored);
    if (lane == 0) losses[row] = loss;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_total(const REAL* __restrict__ z, const int* __restrict__ labels, REAL* __restrict__ value,
                                double* __restrict__ record, REAL* __restrict__ dz, REAL scale, Index rows,
                                Index classes, Index ignored, Index divisor, Index samples,
                                const REAL* __restrict__ weights, Index repeats, Index divide) {
    __shared__ double shared[THREADS / WARP];
    const Division division{weights, repeats, divide, divisor};
    total(Rows{z, dz, classes}, rows, scale, value, record, samples, division, shared, labels,
          ignored);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_dense(const REAL* __restrict__ z, const REAL* __restrict__ targets,
                                REAL* __restrict__ losses, REAL* __restrict__ dz, REAL scale, REAL keep, REAL spread,
                                Index rows, Index classes, const REAL* __restrict__ weights, Index repeats) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const REAL loss = Rows{z, dz, classes}(row, lane, Scale{scale, weights, repeats}, targets, keep, spread);
    if (lane == 0) losses[row] = loss;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_dense_total(const REAL* __restrict__ z, const REAL* __restrict__ targets,
                                      REAL* __restrict__ value, double* __restrict__ record, REAL* __restrict__ dz,
                                      REAL scale, REAL keep, REAL spread, Index rows, Index classes, Index divisor,
                                      Index samples, const REAL* __restrict__ weights, Index repeats, Index divide) {
    __shared__ double shared[THREADS / WARP];
    const Division division{weights, repeats, divide, divisor};
    total(Rows{z, dz, classes}, rows, scale, value, record, samples, division, shared, targets,
          keep, spread);
}
