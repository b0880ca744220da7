// Logarithm of the softmax over one axis, and its gradient.
//
// Math:     y[i, j] = x[i, j] - m[i] - log(sum_k exp(x[i, k] - m[i])),  m[i] = max_k x[i, k]
//           dx[i, j] = dy[i, j] - exp(y[i, j]) sum_k dy[i, k]
// Layout:   x, y, dy, dx (outer, columns, inner), row-major; the last axis has inner 1
// Launch:   one warp per row, THREADS / 32 rows a block; the lanes stride over the row's columns
// Memory:   4 rows columns elements, some of them from cache; neighbouring lanes touch elements `inner` apart
// Edges:    rows, columns, inner >= 1. A row with a NaN or +infinity becomes NaN throughout
// Numerics: the exponent is at most 0, the sum at least 1: nothing overflows. A lane adds up its columns in order, then
//           the lanes are added pairwise
// Cost:     one exponential per element, one logarithm per row
#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    log_softmax(const REAL* __restrict__ x, REAL* __restrict__ y, Index rows, Index columns, Index inner) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Index start = row_start(row, columns, inner);
    x += start;
    y += start;
    REAL top = x[0];
    for (Index j = lane; j < columns; j += WARP) top = fmax(top, x[j * inner]);
    top = warp_max(top);
    REAL sum = 0;
    for (Index j = lane; j < columns; j += WARP) sum += exp(x[j * inner] - top);
    const REAL log_sum = log(warp_sum(sum));
    for (Index j = lane; j < columns; j += WARP) y[j * inner] = x[j * inner] - top - log_sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    log_softmax_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ y, REAL* __restrict__ dx, Index rows,
                         Index columns, Index inner) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Index start = row_start(row, columns, inner);
    dy += start;
    y += start;
    dx += start;
    REAL sum = 0;
    for (Index j = lane; j < columns; j += WARP) sum += dy[j * inner];
    sum = warp_sum(sum);
    for (Index j = lane; j < columns; j += WARP) dx[j * inner] = dy[j * inner] - exp(y[j * inner]) * sum;
}
