// Softmax over one axis, and its gradient.
//
// Math:     y[i, j] = exp(x[i, j] - m[i]) / sum_k exp(x[i, k] - m[i]),  m[i] = max_k x[i, k]
//           dx[i, j] = y[i, j] (dy[i, j] - sum_k dy[i, k] y[i, k])
// Layout:   x, y, dy, dx (outer, columns, inner), row-major; row o inner + n is [o, :, n]; the last axis has inner 1
// Launch:   one warp per row, THREADS / 32 rows a block; the lanes stride over the row's columns
// Memory:   softmax moves 5 rows columns elements (x twice, y written twice and read once, most of it from cache), the
//           gradient 5 as well; neighbouring lanes touch elements `inner` apart
// Edges:    rows, columns, inner >= 1. A row with a NaN or +infinity becomes NaN throughout; -infinity gives 0, and a
//           row of nothing else NaN
// Numerics: the exponent is at most 0, the sum at least 1: nothing overflows. A lane adds up its columns in order, then
//           the lanes are added pairwise
// Cost:     one exponential and one division per element
#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax(const REAL* __restrict__ x, REAL* __restrict__ y, Index rows, Index columns, Index inner) {
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
    for (Index j = lane; j < columns; j += WARP) {
        y[j * inner] = exp(x[j * inner] - top);
        sum += y[j * inner];
    }
    sum = warp_sum(sum);
    for (Index j = lane; j < columns; j += WARP) y[j * inner] /= sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ y, REAL* __restrict__ dx, Index rows,
                     Index columns, Index inner) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Index start = row_start(row, columns, inner);
    dy += start;
    y += start;
    dx += start;
    REAL dot = 0;
    for (Index j = lane; j < columns; j += WARP) dot = fma(dy[j * inner], y[j * inner], dot);
    dot = warp_sum(dot);
    for (Index j = lane; j < columns; j += WARP) dx[j * inner] = y[j * inner] * (dy[j * inner] - dot);
}
