// Pooling: the maximum or the mean of each window, and the gradients.
//
// Math:     y[n, p, q, c] = max or mean over the window of output (p, q), which is the elements x[n, h, w, c] with
//           h = p stride_h - top + r, 0 <= r < R, and w = q stride_w - left + s, 0 <= s < S, that lie inside x
//           winner[n, p, q, c] = r S + s of the first maximum
//           gradients: dx[n, h, w, c] = sum over the windows that (h, w) lies in: of dy where (h, w) won, or of
//           dy / (number of elements in the window)
// Layout:   x, dx (N, H, W, C); y, dy, winner (N, P, Q, C)
// Launch:   one thread per element of the result; an image of the result takes `blocks` blocks of THREADS, N images a
//           grid of N blocks; neighbouring threads have neighbouring channels
// Memory:   each thread of a forward pass reads its window, each of a gradient the windows it lies in, coalesced over
//           the channels; where windows overlap, elements are read again, from cache
// Edges:    any N; an image, a window and a stride below 2^30, so that 32 bits hold a place in an image. Every window
//           has an element inside x at least; the padding takes no part. A NaN is greater than any number
// Numerics: means are summed along each row of a window first, then over its rows: at most R + S additions pass through
//           an element. No atomics: a gradient's thread gathers its windows, in order
// Cost:     R S comparisons or additions per output element
#include "common.cuh"

// The windows along one axis: window p starts at p stride - pad and spans `size` of `length` elements.
struct Axis {
    int length, windows, size, stride, pad;

    __device__ Axis(Index length, Index windows, Index size, Index stride, Index pad)
        : length(static_cast<int>(length)), windows(static_cast<int>(windows)), size(static_cast<int>(size)),
          stride(static_cast<int>(stride)), pad(static_cast<int>(pad)) {}

    // Window p is elements first(p) to end(p) - 1; it would begin at start(p) but for the edge of the image.
    __device__ int start(int p) const { return p * stride - pad; }
    __device__ int first(int p) const { return start(p) < 0 ? 0 : start(p); }
    __device__ int end(int p) const { return start(p) + size < length ? start(p) + size : length; }
    __device__ int count(int p) const { return end(p) - first(p); }

    // Element h lies in windows first_window(h) to end_window(h) - 1, or in none if these are fewer than one.
    __device__ int first_window(int h) const { return h + pad < size ? 0 : (h + pad - size) / stride + 1; }
    __device__ int end_window(int h) const {
        const int reached = (h + pad) / stride + 1;
        return reached < windows ? reached : windows;
    }
};

// The element of this thread in an array of images (rows, columns, channels), each of which takes `blocks` blocks.
struct Place {
    int image, offset, row, column, channel;
    bool inside;

    __device__ Place(int rows, int columns, Index channels, Index blocks) {
        const unsigned c = static_cast<unsigned>(channels), in_image = static_cast<unsigned>(blocks);
        const unsigned i = blockIdx.x % in_image * THREADS + threadIdx.x, pixel = i / c;
        image = static_cast<int>(blockIdx.x / in_image);
        offset = static_cast<int>(i);
        channel = static_cast<int>(i - pixel * c);
        row = static_cast<int>(pixel / columns);
        column = static_cast<int>(pixel) - row * columns;
        inside = row < rows;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    max_pooling(const REAL* __restrict__ x, int* __restrict__ winner, REAL* __restrict__ y, Index H, Index P,
                Index R, Index stride_h, Index top, Index W, Index Q, Index S, Index stride_w, Index left, Index C,
                Index blocks) {
    const Axis rows(H, P, R, stride_h, top), columns(W, Q, S, stride_w, left);
    const Place place(rows.windows, columns.windows, C, blocks);
    if (!place.inside) return;
    const int channels = static_cast<int>(C), first_h = rows.first(place.row), first_w = columns.first(place.column);
    x += place.image * H * W * C + place.channel;
    int best_h = first_h, best_w = first_w;
    REAL best = x[(first_h * columns.length + first_w) * channels];
    for (int h = first_h; h < rows.end(place.row); ++h) {
        for (int w = first_w; w < columns.end(place.column); ++w) {
            const REAL value = x[(h * columns.length + w) * channels];
            if (!(value <= best) && best == best) {  // greater, or the first NaN
                best = value;
                best_h = h;
                best_w = w;
            }
        }
    }
    const Index i = place.image * P * Q * C + place.offset;
    y[i] = best;
    winner[i] = (best_h - rows.start(place.row)) * columns.size + best_w - columns.start(place.column);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    max_pooling_gradient(const REAL* __restrict__ dy, const int* __restrict__ winner, REAL* __restrict__ dx,
                         Index H, Index P, Index R, Index stride_h, Index top, Index W, Index Q, Index S,
                         Index stride_w, Index left, Index C, Index blocks) {
    const Axis rows(H, P, R, stride_h, top), columns(W, Q, S, stride_w, left);
    const Place place(rows.length, columns.length, C, blocks);
    if (!place.inside) return;
    const int channels = static_cast<int>(C);
    dy += place.image * P * Q * C + place.channel;
    winner += place.image * P * Q * C + place.channel;
    REAL sum = 0;
    for (int p = rows.first_window(place.row); p < rows.end_window(place.row); ++p) {
        for (int q = columns.first_window(place.column); q < columns.end_window(place.column); ++q) {
            const int number = (place.row - rows.start(p)) * columns.size + place.column - columns.start(q);
            const int window = (p * columns.windows + q) * channels;
            if (winner[window] == number) sum += dy[window];
        }
    }
    dx[place.image * H * W * C + place.offset] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    average_pooling(const REAL* __restrict__ x, REAL* __restrict__ y, Index H, Index P, Index R, Index stride_h,
                    Index top, Index W, Index Q, Index S, Index stride_w, Index left, Index C, Index blocks) {
    const Axis rows(H, P, R, stride_h, top), columns(W, Q, S, stride_w, left);
    const Place place(rows.windows, columns.windows, C, blocks);
    if (!place.inside) return;
    const int channels = static_cast<int>(C);
    x += place.image * H * W * C + place.channel;
    REAL sum = 0;
    for (int h = rows.first(place.row); h < rows.end(place.row); ++h) {
        REAL row_sum = 0;
        for (int w = columns.first(place.column); w < columns.end(place.column); ++w) {
            row_sum += x[(h * columns.length + w) * channels];
        }
        sum += row_sum;
    }
    y[place.image * P * Q * C + place.offset] =
        sum / static_cast<REAL>(rows.count(place.row) * columns.count(place.column));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    average_pooling_gradient(const REAL* __restrict__ dy, REAL* __restrict__ dx, Index H, Index P, Index R,
                             Index stride_h, Index top, Index W, Index Q, Index S, Index stride_w, Index left,
                             Index C, Index blocks) {
    const Axis rows(H, P, R, stride_h, top), columns(W, Q, S, stride_w, left);
    const Place place(rows.length, columns.length, C, blocks);
    if (!place.inside) return;
    const int channels = static_cast<int>(C);
    dy += place.image * P * Q * C + place.channel;
    REAL sum = 0;
    for (int p = rows.first_window(place.row); p < rows.end_window(place.row); ++p) {
        REAL row_sum = 0;
#pragma unroll 1  // unrolled, the division spills registers
        for (int q = columns.first_window(place.column); q < columns.end_window(place.column); ++q) {
            row_sum += dy[(p * columns.windows + q) * channels] / static_cast<REAL>(rows.count(p) * columns.count(q));
        }
        sum += row_sum;
    }
    dx[place.image * H * W * C + place.offset] = sum;
}
