// A running mean, which stays on the device until somebody asks for the result.
//
// Math:     accumulate_mean:   state[0] += total_weight value,  state[1] += weight
//           accumulate_values: for block b, over its rows i: state[b, 0] += sum_i w[i] value[i] / positions,
//           state[b, 1] += sum_i w[i] / positions
// Layout:   state (blocks, 2) in double; value (1), values (rows); weights (rows / repeats), or null for 1; a sample
//           has `positions` rows
// Launch:   accumulate_mean one thread; accumulate_values as many blocks of THREADS at most as state has parts, which
//           stride over the rows
// Memory:   each array once
// Edges:    rows >= 1
// Numerics: products and sums are rounded in double, in an order that depends on sizes alone
// Cost:     3 operations a value
#include "common.cuh"
#include "reduce.cuh"
#include "tally.cuh"

extern "C" __global__ void __launch_bounds__(1)
    accumulate_mean(const REAL* __restrict__ value, double* __restrict__ state, Index total_weight, Index weight) {
    state[0] += static_cast<double>(value[0]) * static_cast<double>(total_weight);
    state[1] += static_cast<double>(weight);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    accumulate_values(const REAL* __restrict__ values, double* __restrict__ state, Index positions,
                      const REAL* __restrict__ weights, Index repeats, Index rows) {
    __shared__ double shared[THREADS / WARP];
    const Index first = global_thread(), stride = static_cast<Index>(gridDim.x) * THREADS;
    Tally tally(state, positions, weights, repeats, first, stride);
    for (Index row = first; row < rows; row += stride) tally.take(static_cast<double>(values[row]));
    tally.finish(shared);
}
