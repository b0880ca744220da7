// Sparsemax over one axis, and its gradient: the point of the probability simplex that is nearest to a row.
//
// Math:     y[i, j] = max(z[i, j] - t[i], 0),  z[i, j] = x[i, j] - max_k x[i, k],  t[i] such that sum_j y[i, j] = 1
//           dx[i, j] = dy[i, j] - mean of dy[i, k] over the k with y[i, k] > 0, where y[i, j] > 0; else 0
// Layout:   x, y, dy, dx (outer, columns, inner), row-major; the last axis has inner 1
// Launch:   one warp per row, THREADS / 32 rows a block; the lanes stride over the row's columns
// Memory:   a row is read once for its maximum, once for each guess of t, and once more; neighbouring lanes touch
//           elements `inner` apart
// Edges:    rows, columns, inner >= 1; a NaN stays one
// Numerics: t is above -1. From there on a guess is what makes the elements above the last guess sum up to 1: guesses
//           grow, fewer elements are above each, and the last is right once their number stays. Sums are added as in
//           softmax.cu
// Cost:     2 operations per element and guess; guesses are few, columns + 1 at most
#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    sparsemax(const REAL* __restrict__ x, REAL* __restrict__ y, Index rows, Index columns, Index inner) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Index start = row_start(row, columns, inner);
    x += start;
    y += start;
    REAL top = x[0];
    for (Index j = lane; j < columns; j += WARP) top = fmax(top, x[j * inner]);
    top = warp_max(top);
    REAL guess = -1;
    for (Index before = columns + 1;;) {
        REAL sum = 0;
        Index above = 0;
        for (Index j = lane; j < columns; j += WARP) {
            const REAL z = x[j * inner] - top;
            if (z > guess) {
                sum += z;
                ++above;
            }
        }
        sum = warp_sum(sum);
        above = warp_sum(above);
        if (above >= before) break;
        guess = (sum - 1) / static_cast<REAL>(above);
        before = above;
    }
    for (Index j = lane; j < columns; j += WARP) {
        const REAL rest = x[j * inner] - top - guess;
        y[j * inner] = rest <= 0 ? REAL(0) : rest;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sparsemax_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ y, REAL* __restrict__ dx, Index rows,
                       Index columns, Index inner) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Index start = row_start(row, columns, inner);
    dy += start;
    y += start;
    dx += start;
    REAL sum = 0;
    Index above = 0;
    for (Index j = lane; j < columns; j += WARP) {
        if (y[j * inner] > 0) {
            sum += dy[j * inner];
            ++above;
        }
    }
    sum = warp_sum(sum);
    above = warp_sum(above);
    const REAL mean = sum / static_cast<REAL>(above);
    for (Index j = lane; j < columns; j += WARP) dx[j * inner] = y[j * inner] > 0 ? dy[j * inner] - mean : REAL(0);
}
