// ReLU in Keras's general form.
//
// Math:     y = min(x, max_value) where x > threshold, else negative_slope (x - threshold)
//           dx = dy where threshold < x < max_value; 0 where x is above both; negative_slope dy where x <= threshold
// Layout:   vectors of n elements, whatever shape they have outside
// Launch:   one thread per element, THREADS a block
// Memory:   2n and 3n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; max_value is infinite where there is none
// Numerics: at most two roundings an element
// Cost:     at most 4 flop an element; 8n and 12n bytes for float
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) relu(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                           REAL max_value, REAL negative_slope, REAL threshold,
                                                           Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL value = x[i];
    const REAL above = value > max_value ? max_value : value;
    y[i] = value > threshold ? above : negative_slope * (value - threshold);
}

extern "C" __global__ void __launch_bounds__(THREADS) relu_gradient(const REAL* __restrict__ dy,
                                                                    const REAL* __restrict__ x, REAL* __restrict__ dx,
                                                                    REAL max_value, REAL negative_slope,
                                                                    REAL threshold, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL above = x[i] < max_value ? dy[i] : REAL(0);
    dx[i] = x[i] > threshold ? above : negative_slope * dy[i];
}
