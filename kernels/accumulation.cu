// Running totals of a metric, which stay on the device until somebody asks for the result.
//
// Math:     accumulate_mean:    state[0] += weight value,                state[1] += weight
//           accumulate_matches: state[0] += sum_i match[i] / positions,  state[1] += n / positions
// Layout:   state (2) in double: total and count; value (1); matches (n), `positions` of them for each sample
// Launch:   accumulate_mean one thread, accumulate_matches one block of THREADS
// Memory:   n bytes
// Edges:    n >= 1, positions >= 1 and a divisor of n
// Numerics: the matches are counted in integers; totals of up to 2^53 matches are exact
// Cost:     n integer additions
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    accumulate_mean(const REAL* __restrict__ value, double* __restrict__ state, Index weight) {
    if (global_thread() != 0) return;
    state[0] += static_cast<double>(value[0]) * static_cast<double>(weight);
    state[1] += static_cast<double>(weight);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    accumulate_matches(const unsigned char* __restrict__ matches, double* __restrict__ state, Index positions,
                       Index n) {
    __shared__ Index shared[THREADS / WARP];
    Index count = 0;
    for (Index i = threadIdx.x; i < n; i += THREADS) count += matches[i];
    count = block_sum<THREADS>(count, shared);
    if (threadIdx.x == 0) {
        state[0] += static_cast<double>(count) / static_cast<double>(positions);
        state[1] += static_cast<double>(n / positions);
    }
}
