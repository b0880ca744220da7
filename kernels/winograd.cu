// Winograd's convolution F(2 x 2, 3 x 3): 16 products a channel and filter for 2 x 2 pixels, where the sum over the
// window takes 36. Lavin and Gray 2015, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308). This
// file has the transforms; the sums over channels between them are winograd_products.cu.
//
// Math:     winograd_filters: u[i,j] = sum over r,s of G[i,r] w[r,s] G[j,s]; `turned`, of the window turned by half a
//               turn and with channels and filters exchanged, which gives the gradient of the images
//           winograd_input: v[i,j] = sum over k,l of BT[i,k] d[k,l] BT[j,l], d the 4 x 4 pixels of dz = scale x f'(z)
//               from row 2 p - top and column 2 q - left on, 0 outside the image; f is LINEAR in the forward pass
//           winograd_output: z = b + sum over i,j of AT[.,i] m[i,j] AT[.,j], 2 x 2 pixels; y = f(z), of which
//               dropping.cuh may drop elements; saved = z where f' needs it
//                1    0    0
//           G = 1/2  1/2  1/2    BT = 1  0 -1  0    AT = 1  1  1  0
//               1/2 -1/2  1/2         0  1  1  0         0  1 -1 -1
//                0    0    1          0 -1  1  0
//                                     0  1  0 -1
// Layout:   w (3, 3, channels, filters); u (16, channels, filters), turned (16, filters, channels); x, saved (images,
//           height, width, channels); v (16, tiles, channels); m (16, tiles, filters); y (images, height, width,
//           filters), its `saved` too. The tiles of v and m are whole rows of the tiles_h x tiles_w tiles of 2 x 2
//           pixels of each image of y, from tile number `first` on; y, and its `saved`, begin with their first row of
//           pixels, number `first_row` of all images
// Launch:   THREADS a block. A thread transforms WIDTH neighbouring channels of one tile (of filters: of one filter or
//           channel); neighbouring threads have neighbouring channels
// Memory:   WIDTH elements move as one, so WIDTH divides the channels and packs are aligned; only what is turned is
//           written one by one, neighbours by neighbouring threads. winograd_input reads a pixel for each of the up to
//           four tiles that see it, through the caches; all else is read and written once
// Edges:    any size >= 1, any padding, negative too; pixels of the last tiles outside y are not stored
// Numerics: transforms are additions in a fixed order (halves are exact): the same bits at every run. What sees an
//           infinity or a NaN is not finite, as with exact sums, but may be NaN where these are infinite; and elements
//           or results of some fraction of the largest number, a fourth in x, may overflow on the way
// Cost:     35 flop a channel and filter in winograd_filters, 32 a tile and channel in winograd_input, 24 a tile and
//           filter in winograd_output. For float v has 16 (size of x) bytes and m 16 (size of y), if sizes are even,
//           which are written by one launch and read by the next
#include "activation.cuh"
#include "dropping.cuh"
#include "geometry.cuh"
#include "packs.cuh"

// Per multiprocessor, at least: left open, the compiler aims at more, and spills registers.
constexpr int BLOCKS = (sizeof(REAL) == 4 ? 512 : 256) / THREADS;
constexpr int TAPS = 3, SIDE = 4;  // of a filter, and of a tile's window, along an axis

// Neighbouring channels, which move as one.
using Channels = Pack<WIDTH>;
__device__ inline Channels read(const REAL* source) { return read_pack<WIDTH>(source); }
__device__ inline void write(REAL* target, const Channels& pack) { *reinterpret_cast<Channels*>(target) = pack; }
__device__ inline Channels operator+(const Channels& a, const Channels& b) {
    Channels sum;
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) sum.value[e] = a.value[e] + b.value[e];
    return sum;
}
__device__ inline Channels operator-(const Channels& a, const Channels& b) {
    Channels difference;
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) difference.value[e] = a.value[e] - b.value[e];
    return difference;
}
__device__ inline Channels half(Channels pack) {
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) pack.value[e] *= REAL(0.5);
    return pack;
}

// G times a column of three.
__device__ inline void transform_filter(const Channels (&w)[TAPS], Channels (&u)[SIDE]) {
    const Channels outer = w[0] + w[2];
    u[0] = w[0];
    u[1] = half(outer + w[1]);
    u[2] = half(outer - w[1]);
    u[3] = w[2];
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    winograd_filters(const REAL* __restrict__ w, REAL* __restrict__ u, Index channels, Index filters, Index turned) {
    const Index thread = global_thread();
    if (thread >= channels * filters / WIDTH) return;
    const Index packs = filters / WIDTH;
    const Index channel = turned ? thread % channels : thread / packs;
    const Index filter = (turned ? thread / channels : thread % packs) * WIDTH;
    const Index place = channel * filters + filter, size = channels * filters;
    Channels rows[TAPS][SIDE];  // w times G transposed
#pragma unroll
    for (int r = 0; r < TAPS; ++r) {
        const REAL* const row = w + r * TAPS * size + place;
        const Channels taps[TAPS] = {read(row), read(row + size), read(row + 2 * size)};
        transform_filter(taps, rows[r]);
    }
#pragma unroll
    for (int j = 0; j < SIDE; ++j) {
        const Channels column[TAPS] = {rows[0][j], rows[1][j], rows[2][j]};
        Channels result[SIDE];
        transform_filter(column, result);
#pragma unroll
        for (int i = 0; i < SIDE; ++i) {
            if (!turned) {
                write(u + (i * SIDE + j) * size + place, result[i]);
                continue;
            }
            // Half a turn exchanges the first and the last row of G, and leaves the others as they are.
            const int to_i = i % 3 == 0 ? 3 - i : i, to_j = j % 3 == 0 ? 3 - j : j;
            REAL* const target = u + (to_i * SIDE + to_j) * size + filter * channels + channel;
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) target[e * channels] = result[i].value[e];
        }
    }
}

// What a thread transforms: the channels from `channel` on of tile number `tile` of v and m.
struct Work {
    Index tile, image;
    int row, column, channel;  // of the tile's first pixel in y

    __device__ inline Work(Index thread, Index first, int tiles_h, int tiles_w, int channels) {
        const int packs = channels / WIDTH;
        tile = quotient(thread, packs);
        channel = static_cast<int>(thread - tile * packs) * WIDTH;
        const Index line = quotient(first + tile, tiles_w);
        image = quotient(line, tiles_h);
        row = static_cast<int>(line - image * tiles_h) * 2;
        column = static_cast<int>(first + tile - line * tiles_w) * 2;
    }
};

// dz = scale dy f'(z), as in layer.cuh; `saved` is not read for LINEAR.
__device__ inline Channels read_gradient(const REAL* dy, const REAL* saved, Index offset, REAL scale) {
    Channels dz = read(dy + offset);
    if constexpr (ACTIVATION != LINEAR) {
        const Channels z = read(saved + offset);
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) {
            dz.value[e] = gradient_before(dz.value[e], z.value[e], scale);
        }
    }
    return dz;
}

// Rows of a window that are read before the first is waited for: as many as there are where that takes no arithmetic;
// sixteen times four derivatives would be much code.
constexpr int ROWS_AT_ONCE = ACTIVATION <= LEAKY_RELU ? SIDE : 1;

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    winograd_input(const REAL* __restrict__ x, const REAL* __restrict__ saved, REAL* __restrict__ v, Index first,
                   Index tiles, Index tiles_h, Index tiles_w, Index height, Index width, Index channels, Index top,
                   Index left, REAL scale) {
    const Index thread = global_thread();
    if (thread >= tiles * channels / WIDTH) return;
    const Work work(thread, first, tiles_h, tiles_w, channels);
    const int h = work.row - static_cast<int>(top), w = work.column - static_cast<int>(left);
    const Index corner = ((work.image * height + h) * width + w) * channels + work.channel;
    v += work.tile * channels + work.channel;
    const Index size = tiles * channels;
    Channels before[SIDE] = {}, last[SIDE] = {};  // the two rows before this one, times B
#pragma unroll(ROWS_AT_ONCE)
    for (int i = 0; i < SIDE; ++i) {
        const bool is_row = static_cast<unsigned>(h + i) < static_cast<unsigned>(height);
        Channels d[SIDE] = {};
#pragma unroll
        for (int j = 0; j < SIDE; ++j) {
            if (is_row && static_cast<unsigned>(w + j) < static_cast<unsigned>(width)) {
                d[j] = read_gradient(x, saved, corner + (i * width + j) * channels, scale);
            }
        }
        const Channels now[SIDE] = {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]};
#pragma unroll
        for (int j = 0; j < SIDE; ++j) {
            REAL* const target = v + j * size;
            if (i >= 2) write(target + (i == 2 ? 0 : 3) * SIDE * size, before[j] - now[j]);
            if (i == 2) {
                write(target + 1 * SIDE * size, last[j] + now[j]);
                write(target + 2 * SIDE * size, now[j] - last[j]);
            }
            before[j] = last[j];
            last[j] = now[j];
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    winograd_output(const REAL* __restrict__ m, const REAL* __restrict__ b, REAL* __restrict__ y,
                    REAL* __restrict__ saved, Index first, Index first_row, Index tiles, Index tiles_h, Index tiles_w,
                    Index height, Index width, Index filters, DROPPING) {
    const Index thread = global_thread();
    if (thread >= tiles * filters / WIDTH) return;
    const Work work(thread, first, tiles_h, tiles_w, filters);
    const Index size = tiles * filters;
    m += work.tile * filters + work.channel;
    Channels rows[SIDE][2];  // m times A
#pragma unroll
    for (int i = 0; i < SIDE; ++i, m += SIDE * size) {
        const Channels m0 = read(m), m1 = read(m + size), m2 = read(m + 2 * size), m3 = read(m + 3 * size);
        rows[i][0] = m0 + m1 + m2;
        rows[i][1] = m1 - m2 - m3;
    }
    Channels bias = {};
    if (b != nullptr) bias = read(b + work.channel);
    const Dropping dropping = THIS_DROPPING;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
        const Channels z[2] = {rows[0][q] + rows[1][q] + rows[2][q], rows[1][q] - rows[2][q] - rows[3][q]};
#pragma unroll
        for (int p = 0; p < 2; ++p) {
            if (work.row + p >= height || work.column + q >= width) continue;
            const Index row = work.image * height + work.row + p - first_row;
            const Index offset = (row * width + work.column + q) * filters + work.channel;
            Channels result = b != nullptr ? z[p] + bias : z[p];
            if (SAVES_INPUT) write(saved + offset, result);
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) result.value[e] = activation(result.value[e]);
            dropping.apply(result.value, first_row * width * filters + offset);
            write(y + offset, result);
        }
    }
}
