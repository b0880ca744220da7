// The loss of a batch from the losses of its rows, and the factor that its gradient takes.
//
// Math:     mean: value = sum_i loss[i] / count, scale = 1 / count;  sum: value = sum_i loss[i], scale = 1
//           over the rows whose label is not `ignored`; count is their number. No such row gives 0 and 0.
//           record[0] += value samples,  record[1] += samples
// Layout:   losses, labels (n); labels may be null, then every row counts; value, scale (1); record (2) in double, may
//           be null
// Launch:   one block of THREADS
// Memory:   n losses, and n labels if there are any
// Edges:    n >= 1
// Numerics: sums in double, in an order that depends on n alone, rounded once at the end
// Cost:     n additions in double
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    reduce_losses(const REAL* __restrict__ losses, const int* __restrict__ labels, REAL* __restrict__ value,
                  REAL* __restrict__ scale, double* __restrict__ record, Index n, Index ignored, Index mean,
                  Index samples) {
    __shared__ double shared[THREADS / WARP];
    double sum = 0, count = 0;
    for (Index i = threadIdx.x; i < n; i += THREADS) {
        if (labels != nullptr && labels[i] == ignored) continue;
        sum += losses[i];
        count += 1;
    }
    sum = block_sum<THREADS>(sum, shared);
    count = block_sum<THREADS>(count, shared);
    if (threadIdx.x == 0) {
        const double factor = count == 0 ? 0 : 1 / count;
        const REAL rounded = static_cast<REAL>(mean == 0 ? sum : (count == 0 ? 0 : sum / count));
        value[0] = rounded;
        scale[0] = static_cast<REAL>(mean == 0 ? 1 : factor);
        if (record != nullptr) {
            record[0] += static_cast<double>(rounded) * static_cast<double>(samples);
            record[1] += static_cast<double>(samples);
        }
    }
}
