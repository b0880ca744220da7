// Mean squared error over the last axis, and its gradient.
//
// Math:     loss[i] = sum_j (y[i, j] - t[i, j])^2 / columns;  dy[i, j] = 2 (y[i, j] - t[i, j]) scale[i] / columns
// Layout:   y, t, dy (rows, columns), row-major; losses (rows); scale (1), or (rows) if it is given per row
// Launch:   the losses one warp per row, THREADS / 32 rows a block; the gradient one thread per element
// Memory:   each array once; neighbouring lanes touch neighbouring elements
// Edges:    rows, columns >= 1
// Numerics: a lane adds up its columns in order, then the lanes are added pairwise
// Cost:     3 operations per element forward, 2 backward
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    squared_error(const REAL* __restrict__ y, const REAL* __restrict__ t, REAL* __restrict__ losses, Index rows,
                  Index columns) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    y += row * columns;
    t += row * columns;
    REAL sum = 0;
    for (Index j = lane; j < columns; j += WARP) {
        const REAL error = y[j] - t[j];
        sum = fma(error, error, sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) losses[row] = sum / static_cast<REAL>(columns);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    squared_error_gradient(const REAL* __restrict__ y, const REAL* __restrict__ t, const REAL* __restrict__ scale,
                           REAL* __restrict__ dy, Index per_row, Index columns, Index n) {
    const Index i = global_thread();
    if (i < n) dy[i] = (y[i] - t[i]) * (2 * scale[per_row == 0 ? 0 : i / columns] / static_cast<REAL>(columns));
}
