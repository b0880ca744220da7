// Losses by three sums over a row, cosine similarity and the overlap of Dice and Tversky, and their gradients.
//
// Math:     cosine:  loss[i] = -c, c = sum_j y t / (|y| |t|), |x| = sqrt(max(sum_j x^2, 1e-14))
//                    a = -1 / (|y| |t|),  b = c / |y|^2, or 0 where the max holds |y|;  c = 0
//           overlap: loss[i] = 1 - s, s = both sum_j t y / d,
//                    d = both sum_j t y + target sum_j t (1 - y) + output sum_j y (1 - t) + 1e-7
//                    a = (s (both - target - output) - both) / d;  b = 0;  c = s output / d
//           dy[i, j] = scale[i] (a t[i, j] + b y[i, j] + c)
// Layout:   y, t, dy (rows, columns), row-major; losses (rows); lines (rows, 3), which are a, b, c; scale (1), or (rows)
//           if it is given per row
// Launch:   the losses one block of THREADS per row; the gradient one thread per element
// Memory:   each array once; neighbouring threads touch neighbouring elements
// Edges:    rows, columns >= 1
// Numerics: products and sums in double, in an order that depends on the number of columns alone
// Cost:     3 multiply-adds per element forward, 2 and a product backward
#include "common.cuh"
#include "reduce.cuh"

constexpr double LEAST_SQUARES = 1e-14;
constexpr double LEAST_OVERLAP = 1e-7;

extern "C" __global__ void __launch_bounds__(THREADS)
    similarity_loss(const REAL* __restrict__ y, const REAL* __restrict__ t, REAL* __restrict__ losses,
                    REAL* __restrict__ lines, Index overlaps, REAL both, REAL target, REAL output, Index columns) {
    __shared__ double shared[THREADS / WARP];
    const Index row = blockIdx.x;
    y += row * columns;
    t += row * columns;
    double product = 0, first = 0, second = 0;
    for (Index j = threadIdx.x; j < columns; j += THREADS) {
        const double output_j = y[j], target_j = t[j];
        product += output_j * target_j;
        first += overlaps == 0 ? output_j * output_j : target_j * static_cast<double>(1 - y[j]);
        second += overlaps == 0 ? target_j * target_j : output_j * static_cast<double>(1 - t[j]);
    }
    product = block_sum<THREADS>(product, shared);
    first = block_sum<THREADS>(first, shared);
    second = block_sum<THREADS>(second, shared);
    if (threadIdx.x != 0) return;
    double loss, a, b = 0, c = 0;
    if (overlaps == 0) {
        const double y_length = sqrt(first < LEAST_SQUARES ? LEAST_SQUARES : first);
        const double t_length = sqrt(second < LEAST_SQUARES ? LEAST_SQUARES : second);
        const double cosine = product / (y_length * t_length);
        loss = -cosine;
        a = -1 / (y_length * t_length);
        if (first >= LEAST_SQUARES) b = cosine / (y_length * y_length);
    } else {
        const double common = both * product, whole = common + target * first + output * second + LEAST_OVERLAP;
        const double share = common / whole;
        loss = 1 - share;
        a = (share * (static_cast<double>(both) - target - output) - both) / whole;
        c = share * output / whole;
    }
    losses[row] = static_cast<REAL>(loss);
    lines[3 * row] = static_cast<REAL>(a);
    lines[3 * row + 1] = static_cast<REAL>(b);
    lines[3 * row + 2] = static_cast<REAL>(c);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    similarity_loss_gradient(const REAL* __restrict__ y, const REAL* __restrict__ t, const REAL* __restrict__ lines,
                             const REAL* __restrict__ scale, REAL* __restrict__ dy, Index per_row, Index columns,
                             Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index row = i / columns;
    const REAL* const line = lines + 3 * row;
    dy[i] = (line[0] * t[i] + line[1] * y[i] + line[2]) * scale[per_row == 0 ? 0 : row];
}
