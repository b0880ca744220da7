// What the share of variance that predictions explain is made of: added to the sums of a metric.
//
// Math:     state[c] += sum over rows of (w t, w t^2, w (t - y)^2, w, 1)
// Layout:   y, t (rows, columns), row-major; weights (elements / repeats), or null for 1; state (columns, 5) in double
// Launch:   a block of THREADS for each column, whose threads stride over rows
// Memory:   each array once, in steps of a row
// Edges:    rows, columns >= 1
// Numerics: differences, products and sums in double, in a fixed order
// Cost:     10 operations per element
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    residual_sums(const REAL* __restrict__ y, const REAL* __restrict__ t, const REAL* __restrict__ weights,
                  double* __restrict__ state, Index rows, Index columns, Index repeats) {
    __shared__ double shared[THREADS / WARP];
    double sums[5] = {0, 0, 0, 0, 0};
    for (Index row = threadIdx.x; row < rows; row += THREADS) {
        const Index i = row * columns + blockIdx.x;
        const double truth = static_cast<double>(t[i]), error = truth - static_cast<double>(y[i]);
        const double weight = weights == nullptr ? 1 : static_cast<double>(weights[i / repeats]);
        sums[0] += weight * truth;
        sums[1] += weight * truth * truth;
        sums[2] += weight * error * error;
        sums[3] += weight;
        sums[4] += 1;
    }
#pragma unroll
    for (int kind = 0; kind < 5; ++kind) {
        const double sum = block_sum<THREADS>(sums[kind], shared);
        if (threadIdx.x == 0) state[5 * static_cast<Index>(blockIdx.x) + kind] += sum;
    }
}
