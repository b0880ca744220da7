// What outputs predict: classes, by the largest or by a threshold, and marks of the largest.
//
// Math:     argmax_classes:    label[i] = argmax_j y[i, j]
//           threshold_classes: label[i] = [y[i] >= threshold]
//           keep_largest:      z[i, j] = y[i, j] if it is one of the k largest of its row, else -1e10
//           mark_maxima:       z[i, j] = [y[i, j] = max_l y[i, l]  and  |y[i, j]| > 1e-9]
// Layout:   y, z (rows, columns), row-major; labels (rows) integers; threshold_classes: y, labels (n)
// Launch:   argmax_classes one warp per row, the others one thread per element, in blocks of THREADS
// Memory:   y once, and for keep_largest and mark_maxima every row once for each of its elements, from the cache
// Edges:    rows, columns >= 1; the grid covers all elements
// Numerics: as numpy.argmax: the first of equal maxima, and the first NaN where there is one; of equal elements the
//           first are larger, and to keep_largest a NaN is the smallest
// Cost:     one comparison per element, or for keep_largest and mark_maxima `columns`
#include "common.cuh"
#include "reduce.cuh"
#include "argmax.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    argmax_classes(const REAL* __restrict__ y, int* __restrict__ labels, Index rows, Index columns) {
    const Index row = global_thread() / WARP;
    const int lane = threadIdx.x % WARP;
    if (row >= rows) return;  // the whole warp
    const Index label = argmax(y + row * columns, columns, lane);
    if (lane == 0) labels[row] = static_cast<int>(label);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    threshold_classes(const REAL* __restrict__ y, int* __restrict__ labels, Index n, REAL threshold) {
    const Index i = global_thread();
    if (i < n) labels[i] = y[i] >= threshold ? 1 : 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    keep_largest(const REAL* __restrict__ y, REAL* __restrict__ z, Index n, Index columns, Index k) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index start = i - i % columns;
    Index before = 0;
    const bool is_nan = y[i] != y[i];
    for (Index j = start; j < start + columns; ++j) {
        const bool same = y[j] == y[i] || (is_nan && y[j] != y[j]);
        before += y[j] > y[i] || (is_nan && y[j] == y[j]) || (same && j < i);
    }
    z[i] = before < k ? y[i] : REAL(-1e10);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mark_maxima(const REAL* __restrict__ y, REAL* __restrict__ z, Index n, Index columns) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index start = i - i % columns;
    bool largest = fabs(y[i]) > REAL(1e-9);
    for (Index j = start; j < start + columns; ++j) largest = largest && y[i] >= y[j];
    z[i] = largest ? REAL(1) : REAL(0);
}
