// What the convolutions that are no matrix product (few channels, small groups) share: how packs are read, where
// windows lie, dz as it is read, what becomes of a finished sum, and how threads add theirs up.
//
// WIDTH, how many neighbouring elements move as one, ACTIVATION, DROPS, POOLED (whether dy is that of maxima over 2 x 2
// pixels) and TAPS (of a filter gradient, how many of a filter's a thread sums up) come from
// gpunet/ops/convolution_direct.py. Coordinates are ints, as in windows.cuh: every extent, padding and dilation
// included, and every stride is below 2^30. So are the elements of one image.
#include "activation.cuh"
#include "dropping.cuh"
#include "geometry.cuh"
#include "packs.cuh"

// Per multiprocessor, at least: left open, the compiler aims at more, and spills registers.
constexpr int BLOCKS = sizeof(REAL) == 4 ? 2 : 1;

// Read or write the first `count` of COUNT elements, WIDTH at once; what is not read is 0. With a WIDTH above 1 packs
// are aligned and `count`, where it is not beyond COUNT, a multiple of it: convolution_direct.py sees to that.
template <int COUNT, class T>
__device__ inline Pack<COUNT, T> read(const T* source, int count) {
    constexpr int STEP = WIDTH < COUNT ? WIDTH : COUNT;
    Pack<COUNT, T> pack = {};
#pragma unroll
    for (int i = 0; i < COUNT; i += STEP) {
        if (i < count) {
            const Pack<STEP, T> part = read_pack<STEP>(source + i);
#pragma unroll
            for (int e = 0; e < STEP; ++e) pack.value[i + e] = part.value[e];
        }
    }
    return pack;
}
template <int COUNT, class T>
__device__ inline void write(T* target, const T (&values)[COUNT], int count) {
    constexpr int STEP = WIDTH < COUNT ? WIDTH : COUNT;
#pragma unroll
    for (int i = 0; i < COUNT; i += STEP) {
        if (i < count) {
            Pack<STEP, T> part;
#pragma unroll
            for (int e = 0; e < STEP; ++e) part.value[e] = values[i + e];
            *reinterpret_cast<Pack<STEP, T>*>(target + i) = part;
        }
    }
}

// Pixel (p, q) of an image of y, or of another one.
struct Pixel {
    int image, p, q;
};
__device__ inline Pixel pixel_of(int rows, int columns, Index number) {
    const Index row = quotient(number, columns);
    const Index image = quotient(row, rows);
    return {int(image), int(row - image * rows), int(number - row * columns)};
}
__device__ inline Pixel pixel_of(const Geometry& g, Index number) {
    return pixel_of(g.out_height, g.out_width, number);
}
// The pixel that comes `step` pixels after another; by carries, without divisions.
__device__ inline Pixel add(const Geometry& g, Pixel pixel, const Pixel& step) {
    pixel.q += step.q;
    pixel.p += step.p;
    pixel.image += step.image;
    if (pixel.q >= g.out_width) {
        pixel.q -= g.out_width;
        ++pixel.p;
    }
    if (pixel.p >= g.out_height) {
        pixel.p -= g.out_height;
        ++pixel.image;
    }
    return pixel;
}

// Where a window of x begins, or a tap lies in it: what it adds to an element's offset, and coordinates.
struct Window {
    Index offset;
    int h, w;
};
struct Tap {
    int offset, h, w;
};
__device__ inline Window window_of(const Geometry& g, const Pixel& pixel) {
    const int h = pixel.p * g.stride_h - g.top, w = pixel.q * g.stride_w - g.left;
    return {((static_cast<Index>(pixel.image) * g.height + h) * g.width + w) * g.channels, h, w};
}
// Tap `number` counts (filter row, filter column, channel of the group); OUTSIDE from the last one on.
__device__ inline Tap tap_of(const Geometry& g, int number) {
    const int place = number / g.group_channels, row = place / g.kernel_width;
    const int h = row * g.dilation_h, w = (place - row * g.kernel_width) * g.dilation_w;
    if (number >= g.taps()) return {0, OUTSIDE, OUTSIDE};
    return {(h * g.width + w) * g.channels + number - place * g.group_channels, h, w};
}
__device__ inline bool is_inside(const Geometry& g, const Window& window) {
    return window.h >= 0 && window.h + (g.kernel_height - 1) * g.dilation_h < g.height && window.w >= 0 &&
           window.w + (g.kernel_width - 1) * g.dilation_w < g.width;
}
__device__ inline bool is_inside(const Geometry& g, const Window& window, const Tap& tap) {
    return static_cast<unsigned>(window.h + tap.h) < static_cast<unsigned>(g.height) &&
           static_cast<unsigned>(window.w + tap.w) < static_cast<unsigned>(g.width);
}

// dz = scale dy f'(z), computed as it is read. If POOLED, dy and saved are those of maxima over 2 x 2 pixels, and dz is
// 0 but for the pixel that `winner` names, as in convolution_pooling_gradient.cu. `saved` is not read for LINEAR.
struct OutputGradient {
    const REAL *dy, *saved;
    const unsigned char* winner;
    REAL scale;
    int rows, columns, filters;  // of dy

    // Where a pixel's filters begin, negative if there is no dz; and which of its window's pixels it is.
    struct Place {
        Index offset;
        int number;
    };
    __device__ inline Place place(const Pixel& pixel) const {
        const int u = POOLED ? pixel.p / 2 : pixel.p, v = POOLED ? pixel.q / 2 : pixel.q;
        if (u >= rows || v >= columns) return {-1, 0};
        const Index line = static_cast<Index>(pixel.image) * rows + u;
        return {(line * columns + v) * filters, (pixel.p - 2 * u) * 2 + pixel.q - 2 * v};
    }
    template <int COUNT>
    __device__ inline Pack<COUNT> load(Index offset, int number, int count) const {
        Pack<COUNT> dz = read<COUNT>(dy + offset, count);
        if constexpr (ACTIVATION != LINEAR) {
            const Pack<COUNT> z = read<COUNT>(saved + offset, count);
#pragma unroll
            for (int e = 0; e < COUNT; ++e) {
                dz.value[e] = gradient_before(dz.value[e], z.value[e], scale);
            }
        }
        if constexpr (POOLED) {
            const Pack<COUNT, unsigned char> winners = read<COUNT>(winner + offset, count);
#pragma unroll
            for (int e = 0; e < COUNT; ++e) {
                if (winners.value[e] != number) dz.value[e] = 0;
            }
        }
        return dz;
    }
};

// z = sum + b and y = f(z), of which some are dropped; z is stored too if the gradient will need it. b may be null.
struct BiasActivation {
    const REAL* b;
    REAL *y, *saved;
    Dropping dropping;

    // Of the sums of COUNT filters, those beginning with number `filter`, `count` exist; y's are at `offset`.
    template <int COUNT>
    __device__ inline void operator()(REAL (&values)[COUNT], Index offset, int filter, int count) const {
        if (b != nullptr) {
            const Pack<COUNT> bias = read<COUNT>(b + filter, count);
#pragma unroll
            for (int e = 0; e < COUNT; ++e) values[e] += bias.value[e];
        }
        if (SAVES_INPUT) write(saved + offset, values, count);
#pragma unroll
        for (int e = 0; e < COUNT; ++e) values[e] = activation(values[e]);
        dropping.apply(values, offset);
        write(y + offset, values, count);
    }
};

// Sums of a filter gradient: of TAPS taps and, last, of dz alone, which is the bias's.
template <int COUNT>
using Sums = REAL[TAPS + 1][COUNT];

// Add the sums of a block's `lanes` lanes, of `lane_threads` neighbouring threads each, to those of the first lane:
// the later half to the earlier one, until one is left. `shared` holds (TAPS + 1) COUNT THREADS / 2 elements.
template <int COUNT>
__device__ inline void add_lanes(Sums<COUNT>& sums, REAL* shared, int lanes, int lane_threads) {
    const int lane = threadIdx.x / lane_threads;
    while (lanes > 1) {
        const int half = (lanes + 1) / 2;
        __syncthreads();
        if (lane >= half && lane < lanes) {
            REAL* place = shared + threadIdx.x - half * lane_threads;
#pragma unroll
            for (int t = 0; t <= TAPS; ++t) {
#pragma unroll
                for (int e = 0; e < COUNT; ++e, place += THREADS / 2) *place = sums[t][e];
            }
        }
        __syncthreads();
        if (lane < lanes - half) {
            const REAL* place = shared + threadIdx.x;
#pragma unroll
            for (int t = 0; t <= TAPS; ++t) {
#pragma unroll
                for (int e = 0; e < COUNT; ++e, place += THREADS / 2) sums[t][e] += *place;
            }
        }
        lanes = half;
    }
}

// Store the sums of the taps from `first_tap` on, of `count` filters from `filter` on; `db` is null if others store it.
template <int COUNT>
__device__ inline void store_sums(const Sums<COUNT>& sums, REAL* dw, REAL* db, const Geometry& g, int first_tap,
                                  int filter, int count) {
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
        if (first_tap + t < g.taps()) {
            write(dw + static_cast<Index>(first_tap + t) * g.filters + filter, sums[t], count);
        }
    }
    if (db != nullptr) write(db + filter, sums[TAPS], count);
}
