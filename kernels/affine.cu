// Affine: each image seen through a matrix of its own, with what lies outside made up.
//
// Math:     for output pixel (p, q) of image n with matrix a0 a1 a2 b0 b1 b2:
//           w = (a0 q + a1 p) + a2,  h = (b0 q + b1 p) + b2
//           nearest:  y[n, p, q] = x[n, rint(h), rint(w)], halves to the even number
//           bilinear: y[n, p, q] = sum over (i, j) in (floor h, floor h + 1) x (floor w, floor w + 1) of u_i v_j x[n, i, j]
//           outside, `mode` 0: `fill`; 1: the nearest pixel; 2: the image repeated; 3: the image and its mirror image in
//           turn (a b c | c b a | a b c)
//           affine_entries: the pixel of x that each corner reads, and what it counts for: the gradient adds up by these
// Layout:   x (N, H, W, C), y (N, P, Q, C), matrices (N, 6); keys, weights (N, P, Q, CORNERS), CORNERS 1 for nearest, 4
//           for bilinear; a key is the number of a pixel in x, or N H W where the corner is filled
// Launch:   affine: one thread per element of y, affine_entries: one per pixel of y; `blocks` blocks of THREADS an image
// Memory:   y written once, coalesced; a thread reads up to four pixels of x, neighbouring channels side by side
// Edges:    every size >= 1; an image below 2^30 elements; places are held within 2^30, NaN and infinity too
// Numerics: coordinates in REAL, every operation rounded by itself, as the CPU version does; sums in the order of the
//           corners
// Cost:     10 operations for the place, 3 per corner, two divisions
#include "common.cuh"

struct Image {
    int height, width;
};

// What one axis reads: places `first` and `first + 1`, or only `first`; weights are those of the second.
struct Reading {
    int first;
    REAL second_weight;
};

__device__ inline Reading read_at(REAL place) {
    const REAL limit = 1 << 30;
    const REAL held = fmin(fmax(place, -limit), limit);  // fmax takes the number, if the other is NaN
    int floor = static_cast<int>(held);
    if (static_cast<REAL>(floor) > held) --floor;
    const REAL rest = held - static_cast<REAL>(floor);
#if CORNERS == 1
    const bool up = rest > REAL(0.5) || (rest == REAL(0.5) && floor % 2 != 0);
    return {up ? floor + 1 : floor, 0};
#else
    return {floor, rest};
#endif
}

__device__ inline bool is_inside(int i, int size) { return i >= 0 && i < size; }

// The place inside an axis that place i stands for; for mode 0, i must be inside.
__device__ inline int filled(int i, int size, int mode) {
    if (is_inside(i, size)) return i;
    if (mode == 1) return i < 0 ? 0 : size - 1;
    const int period = mode == 2 ? size : 2 * size, rest = i % period, turn = rest < 0 ? rest + period : rest;
    return turn < size ? turn : period - 1 - turn;
}

struct Corner {
    int pixel;  // -1 if it is filled
    REAL weight;
};

__device__ inline Corner corner(int number, Reading rows, Reading columns, Image image, int mode) {
    const int down = number / 2, right = number % 2;
    const int h = rows.first + down, w = columns.first + right;
    const REAL u = down ? rows.second_weight : 1 - rows.second_weight;
    const REAL v = right ? columns.second_weight : 1 - columns.second_weight;
    const bool inside = mode != 0 || (is_inside(h, image.height) && is_inside(w, image.width));
    return {inside ? filled(h, image.height, mode) * image.width + filled(w, image.width, mode) : -1, u * v};
}

__device__ inline void read_pixel(const REAL* m, int p, int q, Reading& rows, Reading& columns) {
    columns = read_at((m[0] * static_cast<REAL>(q) + m[1] * static_cast<REAL>(p)) + m[2]);
    rows = read_at((m[3] * static_cast<REAL>(q) + m[4] * static_cast<REAL>(p)) + m[5]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    affine(const REAL* __restrict__ x, const REAL* __restrict__ matrices, REAL* __restrict__ y, Index H, Index W,
           Index P, Index Q, Index C, Index mode, REAL fill, Index blocks) {
    const Index n = blockIdx.x / blocks;
    const int i = static_cast<int>((blockIdx.x - n * blocks) * THREADS + threadIdx.x), channels = static_cast<int>(C);
    const int pixel = i / channels, p = pixel / static_cast<int>(Q), q = pixel - p * static_cast<int>(Q);
    if (p >= P) return;
    Reading rows, columns;
    read_pixel(matrices + n * 6, p, q, rows, columns);
    const Image image = {static_cast<int>(H), static_cast<int>(W)};
    x += n * H * W * C + (i - pixel * channels);
    REAL sum = 0;
#pragma unroll
    for (int k = 0; k < CORNERS; ++k) {
        const Corner read = corner(k, rows, columns, image, static_cast<int>(mode));
        const REAL value = read.pixel < 0 ? fill : x[static_cast<Index>(read.pixel) * C];
        sum = CORNERS == 1 ? value : sum + read.weight * value;
    }
    y[n * P * Q * C + i] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    affine_entries(const REAL* __restrict__ matrices, int* __restrict__ keys, REAL* __restrict__ weights, Index N,
                   Index H, Index W, Index P, Index Q, Index mode, Index blocks) {
    const Index n = blockIdx.x / blocks;
    const int pixel = static_cast<int>((blockIdx.x - n * blocks) * THREADS + threadIdx.x);
    const int p = pixel / static_cast<int>(Q), q = pixel - p * static_cast<int>(Q);
    if (p >= P) return;
    Reading rows, columns;
    read_pixel(matrices + n * 6, p, q, rows, columns);
    const Image image = {static_cast<int>(H), static_cast<int>(W)};
#pragma unroll
    for (int k = 0; k < CORNERS; ++k) {
        const Corner read = corner(k, rows, columns, image, static_cast<int>(mode));
        const Index entry = (n * P * Q + pixel) * CORNERS + k;
        keys[entry] = static_cast<int>(read.pixel < 0 ? N * H * W : n * H * W + read.pixel);
        weights[entry] = read.weight;
    }
}
