// Finish a product whose sums over k were split: add the splits up, then do what the epilogue would have done.
//
// Math:     z[i] = sum over s of partial[s, i], + b[i mod columns] if b is given; y[i] = f(z[i]), or 0 or scaled as
//           dropping.cuh says; saved[i] = z[i] if
//           the activation's gradient needs it (`saved` is null else). Element i is y[i], or tail[i - head]
//           from head on
// Layout:   partial (splits, size); y, saved (head), rows of `columns` elements; tail (size - head), null if head is
//           size; b (columns), null if there is a tail
// Launch:   one thread per element, THREADS a block
// Memory:   splits * size reads, size writes; neighbouring threads touch neighbouring elements
// Edges:    any size and splits >= 1; threads past size do nothing
// Numerics: the splits are added in order, s = 0 first: the same bits at every run
// Cost:     splits * size additions; 4 (splits + 1) size bytes for float
#include "activation.cuh"
#include "dropping.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    finish(const REAL* __restrict__ partial, const REAL* __restrict__ b, REAL* __restrict__ y,
           REAL* __restrict__ saved, REAL* __restrict__ tail, Index splits, Index size, Index head, Index columns,
           DROPPING) {
    const Index i = global_thread();
    if (i >= size) return;
    REAL z = 0;
#pragma unroll 8
    for (Index s = 0; s < splits; ++s) z += partial[s * size + i];
    if (b != nullptr) z += b[i % columns];
    if (SAVES_INPUT) saved[i] = z;
    REAL result[1] = {activation(z)};
    const Dropping dropping = THIS_DROPPING;
    dropping.apply(result, i);
    *(i < head ? y + i : tail + (i - head)) = result[0];
}
