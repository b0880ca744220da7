// Alpha dropout: dropped elements take the value to which SELU saturates, and all are moved and scaled so that mean and
// variance of standard normal inputs stay.
//
// Math:     y[i] = factor x[i] + shift where mask[i] is 1, else dropped;  gradient: dx[i] = mask[i] factor dy[i]
// Layout:   x, y, dy, dx, mask: n elements, whatever shape they have outside
// Launch:   one thread per element, THREADS a block
// Memory:   2n REAL and n bytes moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; a dropped element is so whatever x is, NaN and infinity included
// Numerics: two roundings in y, one in dx
// Cost:     2 operations per element
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    alpha_dropout(const REAL* __restrict__ x, const unsigned char* __restrict__ mask, REAL* __restrict__ y, Index n,
                  REAL factor, REAL shift, REAL dropped) {
    const Index i = global_thread();
    if (i < n) y[i] = mask[i] ? factor * x[i] + shift : dropped;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    alpha_dropout_gradient(const REAL* __restrict__ dy, const unsigned char* __restrict__ mask, REAL* __restrict__ dx,
                           Index n, REAL factor) {
    const Index i = global_thread();
    if (i < n) dx[i] = mask[i] ? factor * dy[i] : 0;
}
