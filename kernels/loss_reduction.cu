// The loss of a batch from the losses of its rows, and the factors that its gradient takes.
//
// Math:     mean: value = sum_i w[i] loss[i] / count, factor = 1 / count;  sum: value = sum_i w[i] loss[i], factor = 1
//           over the rows whose label is not `ignored`, or whose loss is not 0 if such do not count; count is their
//           number, or where the weights divide the sum of their w (that of the weights, not of the rows, if all rows
//           count). A count of 0 gives 0 and 0
//           scale[i] = factor w[i], with w[i] = weights[i / repeats]; no weights: w[i] = 1, and no scale
//           record[0] += value samples,  record[1] += samples
// Layout:   losses, scale (n); labels (rows) may be null, then every row counts; weights (rows / repeats) and scale may
//           be null; value, factor (1); record (2) in double, may be null. n is rows, or 1: then one loss has all rows'
//           weights, and scale[0] = factor sum_i w[i]
// Launch:   one block of THREADS
// Memory:   n losses, and as many labels, weights and scales if there are any
// Edges:    n, rows, repeats >= 1
// Numerics: sums in double, in an order that depends on the number of rows alone, rounded once at the end
// Cost:     an addition in double per row, and with weights a product
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    reduce_losses(const REAL* __restrict__ losses, const int* __restrict__ labels, REAL* __restrict__ value,
                  REAL* __restrict__ factor, double* __restrict__ record, Index n, Index ignored, Index mean,
                  Index samples, const REAL* __restrict__ weights, REAL* __restrict__ scale, Index rows, Index repeats,
                  Index divide, Index nonzero) {
    __shared__ double shared[THREADS / WARP];
    double sum = 0, count = 0, weight = 0;
    // Not unrolled: that would spill registers on sm_80.
#pragma unroll 1
    for (Index i = threadIdx.x; i < rows; i += THREADS) {
        if (labels != nullptr && labels[i] == ignored) continue;
        if (nonzero != 0 && losses[n == 1 ? 0 : i] == 0) continue;
        const double w = weights == nullptr ? 1 : static_cast<double>(weights[i / repeats]);
        sum += w * static_cast<double>(losses[n == 1 ? 0 : i]);
        count += 1;
        weight += w;
    }
    sum = block_sum<THREADS>(sum, shared);
    count = block_sum<THREADS>(count, shared);
    if (weights != nullptr) weight = block_sum<THREADS>(weight, shared);
    if (divide != 0) count = labels == nullptr && nonzero == 0 ? weight / static_cast<double>(repeats) : weight;
    const double each = mean == 0 ? 1 : (count == 0 ? 0 : 1 / count);
    if (weights != nullptr) {
#pragma unroll 1
        for (Index i = threadIdx.x; i < n; i += THREADS) {
            scale[i] = static_cast<REAL>((n == 1 ? weight : static_cast<double>(weights[i / repeats])) * each);
        }
    }
    if (threadIdx.x == 0) {
        const REAL rounded = static_cast<REAL>(mean == 0 ? sum : (count == 0 ? 0 : sum / count));
        value[0] = rounded;
        factor[0] = static_cast<REAL>(each);
        if (record != nullptr) {
            record[0] += static_cast<double>(rounded) * static_cast<double>(samples);
            record[1] += static_cast<double>(samples);
        }
    }
}
