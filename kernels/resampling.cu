// Resampling: images grow or shrink along one axis, each place of the result a sum of a few neighbours.
//
// Math:     y[o, p, i] = sum_{k < counts[p]} weights[p K + k] x[o, starts[p] + k, i]
//           The gradient with respect to x is the same sum with the transposed table: the places to which an element
//           of x goes are neighbours too.
// Layout:   x (outer, length, inner), y (outer, size, inner), n elements; starts, counts (size), weights (size, K)
// Launch:   one thread per element of y
// Memory:   y written once; a thread reads counts[p] elements of x, coalesced along the inner axis, and its part of the
//           table, which is the same for all threads of a place
// Edges:    every size >= 1; PLACE, which counts elements of y, is 32 bits where they suffice; counts may be 0
// Numerics: products are rounded, then added in the order of k, beginning with 0: no fma, as the CPU version has none
// Cost:     2 counts[p] operations and two divisions per element
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    resampling(const REAL* __restrict__ x, const int* __restrict__ starts, const int* __restrict__ counts,
               const REAL* __restrict__ weights, REAL* __restrict__ y, Index n, Index length, Index size, Index inner,
               Index K) {
    if (global_thread() >= n) return;
    const PLACE i = static_cast<PLACE>(global_thread()), line = i / static_cast<PLACE>(inner);
    const PLACE outer = line / static_cast<PLACE>(size), p = line - outer * static_cast<PLACE>(size);
    const Index column = static_cast<Index>(i - line * static_cast<PLACE>(inner));
    x += (static_cast<Index>(outer) * length + starts[p]) * inner + column;
    weights += static_cast<Index>(p) * K;
    const int count = counts[p];
    REAL sum = 0;
    for (int k = 0; k < count; ++k) sum += weights[k] * x[k * inner];
    y[global_thread()] = sum;
}
