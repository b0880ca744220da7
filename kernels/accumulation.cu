// A running mean, which stays on the device until somebody asks for the result.
//
// Math:     state[0] += total_weight value,  state[1] += weight
// Layout:   state (2) in double; value (1)
// Launch:   one thread
// Memory:   three numbers
// Edges:    none
// Numerics: the product and the sums are rounded in double
// Cost:     3 operations
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(1)
    accumulate_mean(const REAL* __restrict__ value, double* __restrict__ state, Index total_weight, Index weight) {
    state[0] += static_cast<double>(value[0]) * static_cast<double>(total_weight);
    state[1] += static_cast<double>(weight);
}
