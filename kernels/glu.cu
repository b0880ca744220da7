// Gated linear unit: one half of an axis, each element weighted by the sigmoid of its partner in the other half.
//
// Math:     y[o, i] = a s(b),  a = x[o, 0, i], b = x[o, 1, i], s(b) = 1 / (1 + exp(-b))
//           dx[o, 0, i] = dy[o, i] s(b);  dx[o, 1, i] = dy[o, i] a s(b) s(-b)
// Layout:   x, dx (outer, 2, half), y, dy (outer, half), row-major; `half` holds half of the axis and all behind it
// Launch:   one thread per element of y, THREADS a block
// Memory:   3 and 5 elements moved for each of y; neighbouring threads touch neighbouring elements
// Edges:    outer, half >= 1; n = outer half; threads past n do nothing
// Numerics: nothing overflows, no digits cancel
// Cost:     one exponential forward, two back
#include "common.cuh"

// For z << 0 exp(-z) is infinite and the quotient 0, as it must be.
__device__ inline REAL sigmoid(REAL z) { return 1 / (1 + exp(-z)); }

extern "C" __global__ void __launch_bounds__(THREADS)
    glu(const REAL* __restrict__ x, REAL* __restrict__ y, Index n, Index half) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index first = i / half * half + i;
    y[i] = x[first] * sigmoid(x[first + half]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    glu_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, REAL* __restrict__ dx, Index n, Index half) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index first = i / half * half + i;
    const REAL gate = x[first + half], s = sigmoid(gate);
    dx[first] = dy[i] * s;
    dx[first + half] = dy[i] * x[first] * (s * sigmoid(-gate));
}
