// Rearrangement: elements move to other places, or are repeated, or what was repeated is summed.
//
// Math:     strided_copy: y[i] = x[sum_a stride_a (i_a - first_a)] if 0 <= i_a - first_a < extent_a for all axes a,
//           else fill.   strided_sum: y[i] = sum_{s < S} sum_{t < T} x[s stride_s + t stride_t + sum_a stride_a i_a]
// Layout:   y is row-major over AXES axes of the sizes size_a, n elements; x is whatever the strides say: padding and
//           cropping are a first_a, a permutation is the strides' order, repetition a stride of 0
// Launch:   one thread per element of y
// Memory:   y written once, coalesced; x read where the strides say, coalesced unless its last axis moves
// Edges:    n >= 1; PLACE, which counts elements of y, is 32 bits where they suffice; offsets are Index
// Numerics: a copy is exact; sums go over s, then t, beginning with 0
// Cost:     AXES - 1 divisions per element
#include "common.cuh"

#define AXIS(a) Index size_##a, Index first_##a, Index extent_##a, Index stride_##a
#define ALL_AXES AXIS(0), AXIS(1), AXIS(2), AXIS(3), AXIS(4), AXIS(5)
#define BY_AXIS(name) {name##_0, name##_1, name##_2, name##_3, name##_4, name##_5}

extern "C" __global__ void __launch_bounds__(THREADS)
    strided_copy(const REAL* __restrict__ x, REAL* __restrict__ y, Index n, REAL fill, ALL_AXES) {
    if (global_thread() >= n) return;
    const Index size[] = BY_AXIS(size), first[] = BY_AXIS(first), extent[] = BY_AXIS(extent), stride[] = BY_AXIS(stride);
    PLACE rest = static_cast<PLACE>(global_thread());
    Index offset = 0;
    bool inside = true;
#pragma unroll
    for (int a = AXES - 1; a >= 0; --a) {
        const PLACE next = a > 0 ? rest / static_cast<PLACE>(size[a]) : 0;
        const Index place = static_cast<Index>(rest - next * static_cast<PLACE>(size[a])) - first[a];
        inside = inside && place >= 0 && place < extent[a];
        offset += place * stride[a];
        rest = next;
    }
    y[global_thread()] = inside ? x[offset] : fill;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    strided_sum(const REAL* __restrict__ x, REAL* __restrict__ y, Index n, Index S, Index stride_s, Index T,
                Index stride_t, ALL_AXES) {
    if (global_thread() >= n) return;
    const Index size[] = BY_AXIS(size), stride[] = BY_AXIS(stride);
    PLACE rest = static_cast<PLACE>(global_thread());
    Index offset = 0;
#pragma unroll
    for (int a = AXES - 1; a >= 0; --a) {
        const PLACE next = a > 0 ? rest / static_cast<PLACE>(size[a]) : 0;
        offset += static_cast<Index>(rest - next * static_cast<PLACE>(size[a])) * stride[a];
        rest = next;
    }
    REAL sum = 0;
    for (Index s = 0; s < S; ++s) {
        for (Index t = 0; t < T; ++t) sum += x[offset + s * stride_s + t * stride_t];
    }
    y[global_thread()] = sum;
}
