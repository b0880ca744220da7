// Probe: does this device compile and run a kernel at all?
//
// Math:     y[i] = 2 i + 1, i < n
// Layout:   y (n)
// Launch:   one thread per element
// Memory:   n writes
// Edges:    n >= 1; threads past n do nothing
// Numerics: exact for i < 2^23
// Cost:     n FMA
#include "common.cuh"

extern "C" __global__ void probe(REAL* y, Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = fma(static_cast<REAL>(2), static_cast<REAL>(i), static_cast<REAL>(1));
}
