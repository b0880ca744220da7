// Merging: several arrays become one, element by element or side by side, and back.
//
// Math:     merge: y[i] = ((x0[i] o x1[i]) o x2[i]) o x3[i], o being +, *, -, max, min or / by OPERATION;
//           choice_gradient: dx0[i] = dy[i] where max or min took x0[i], else 0; dx1[i] = the rest;
//           repeat: y[o, t, i] = x[o, i];  sum_repeats: x[o, i] = sum_t y[o, t, i];
//           concatenate: row o of y is row o of x0, then of x1, ...;  split: the other way
// Layout:   merge, choice_gradient vectors of n elements; repeat x (outer, inner), y (outer, times, inner);
//           concatenate xk (outer, wk), y (outer, w0 + w1 + ...). COUNT, 2 to 4, is how many arrays there are; pointers
//           and widths beyond are not used
// Launch:   THREADS a block, one thread per element of y, of sum_repeats per element of x
// Memory:   every element is read once and written once; neighbouring threads touch neighbouring elements, but those
//           of sum_repeats elements that lie `times` apart where inner is 1
// Edges:    n >= 1; threads past n do nothing
// Numerics: max and min give NaN where one is; equal numbers count as taken from the first; a sum of repeats adds up
//           chunks of CHUNK, then these
// Cost:     at most COUNT - 1 operations an element
#include "common.cuh"

__device__ inline bool takes_first(REAL a, REAL b) {
#if OPERATION == 3
    return a >= b || a != a;
#else
    return a <= b || a != a;
#endif
}

__device__ inline REAL merged(REAL a, REAL b) {
#if OPERATION == 0
    return a + b;
#elif OPERATION == 1
    return a * b;
#elif OPERATION == 2
    return a - b;
#elif OPERATION == 5
    return a / b;
#else
    return takes_first(a, b) ? a : b;
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS) merge(const REAL* __restrict__ x0, const REAL* __restrict__ x1,
                                                            const REAL* __restrict__ x2, const REAL* __restrict__ x3,
                                                            REAL* __restrict__ y, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    REAL value = merged(x0[i], x1[i]);
    if (COUNT > 2) value = merged(value, x2[i]);
    if (COUNT > 3) value = merged(value, x3[i]);
    y[i] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
choice_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x0, const REAL* __restrict__ x1,
                REAL* __restrict__ dx0, REAL* __restrict__ dx1, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const bool first = takes_first(x0[i], x1[i]);
    dx0[i] = first ? dy[i] : REAL(0);
    dx1[i] = first ? REAL(0) : dy[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) repeat(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                             Index times, Index inner, Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = x[i / (times * inner) * inner + i % inner];
}

extern "C" __global__ void __launch_bounds__(THREADS) sum_repeats(const REAL* __restrict__ y, REAL* __restrict__ x,
                                                                  Index times, Index inner, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL* const first = y + i / inner * times * inner + i % inner;
    REAL sum = 0;
    for (Index begin = 0; begin < times; begin += CHUNK) {
        const Index end = begin + CHUNK < times ? begin + CHUNK : times;
        REAL part = 0;
        for (Index t = begin; t < end; ++t) part += first[t * inner];
        sum += part;
    }
    x[i] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
concatenate(const REAL* __restrict__ x0, const REAL* __restrict__ x1, const REAL* __restrict__ x2,
            const REAL* __restrict__ x3, Index w0, Index w1, Index w2, Index w3, REAL* __restrict__ y, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index width = w0 + w1 + (COUNT > 2 ? w2 : 0) + (COUNT > 3 ? w3 : 0);
    const Index row = i / width;
    Index column = i % width;
    if (column < w0) {
        y[i] = x0[row * w0 + column];
    } else if ((column -= w0) < w1) {
        y[i] = x1[row * w1 + column];
    } else if ((column -= w1) < w2) {
        y[i] = x2[row * w2 + column];
    } else {
        y[i] = x3[row * w3 + column - w2];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
split(const REAL* __restrict__ y, REAL* __restrict__ x0, REAL* __restrict__ x1, REAL* __restrict__ x2,
      REAL* __restrict__ x3, Index w0, Index w1, Index w2, Index w3, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index width = w0 + w1 + (COUNT > 2 ? w2 : 0) + (COUNT > 3 ? w3 : 0);
    const Index row = i / width;
    Index column = i % width;
    if (column < w0) {
        x0[row * w0 + column] = y[i];
    } else if ((column -= w0) < w1) {
        x1[row * w1 + column] = y[i];
    } else if ((column -= w1) < w2) {
        x2[row * w2 + column] = y[i];
    } else {
        x3[row * w3 + column - w2] = y[i];
    }
}
