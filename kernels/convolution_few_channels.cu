// Convolution of images with few channels, as in a first layer: forward with bias and activation, without and with
// max-pooling by 2 x 2 behind it, and the gradient of the filters and the bias. It has so few taps that reading and
// writing y matters most, not arithmetic.
//
// Math:     that of convolution.cu without groups; convolution_few_channels_pooling: that of convolution_pooling.cu;
//           for the gradient, if POOLED, that of convolution_pooling_gradient.cu
// Layout:   as convolution.cu; with pooling, y, saved and winner as convolution_pooling.cu, and, if POOLED, dy, saved
//           and winner as convolution_pooling_gradient.cu. `partial` holds, per slab of pixels, dw and db behind each
//           other; null if there is one slab only, and dw and db are null else
// Launch:   a thread computes 4 filters; `lanes` (1, 2, 4 or 8) neighbouring threads neighbouring ones, so that a block
//           has 4 lanes filters; a grid's blocks are numbered (pixels, filters). A multiprocessor holds
//           BLOCKS blocks at least (direct.cuh).
//           convolution_few_channels: THREADS = PIXELS / 4 lanes at most; a block computes PIXELS pixels, a thread 4
//           convolution_few_channels_pooling: the same, where a thread's 4 pixels are a window of the pooling, and
//           neighbouring threads have neighbouring windows
//           convolution_few_channels_kernel_gradient: a block adds up `slab_tiles` tiles of `tile` pixels; a thread
//           TAPS taps of 4 filters over the quads of a tile that are its lane's: threads are (lane of pixels, group of
//           TAPS taps, filters), as many as that takes; lanes of pixels are added up in a fixed order
// Memory:   x under every tap of a block's pixels, zeros of the padding included, and w or dz go through shared
//           memory: `taps`, or whole groups of TAPS, times pixels elements of x, and 4 lanes times taps of w or 4 lanes
//           times pixels of dz. dz is read and computed once; y is written once, 16 bytes at once where WIDTH allows.
//           With pooling that is a fourth of f(z), and a byte for each element of it
// Edges:    any size >= 1 but at most MOST_TAPS taps; any stride, dilation and padding; padding is 0 times w. Windows
//           of the pooling at odd edges, NaN, and what may be null: as convolution_pooling.cu
// Numerics: forward fma over (r, s, c), the same bits as convolution.cu and convolution_pooling.cu. Gradient: fma over
//           at most 512 pixels, then trees over lanes, then over slabs in order (finish.cu); no atomics: the same bits
//           at every run
// Cost:     2 images out_height out_width taps filters flop each, and 3 comparisons a window; at least
//           4 (size of x + size of w + size of y) bytes for float, and the size of y if there is a winner
#include "direct.cuh"
#include "maximum.cuh"

constexpr int FILTERS = 4;  // of a thread
constexpr int QUAD = 4;     // neighbouring pixels of a thread, or those of a window of the pooling
// Packs of dz that a thread computes at the same time, and their filters: more f' of doubles would spill registers.
constexpr int UNROLLED = sizeof(REAL) == 4 ? 4 : 1, STAGED = 16 / sizeof(REAL);

// What index arithmetic is done once for: the pixels of a tile and the taps.
struct Tables {
    Window windows[PIXELS];
    Tap taps[MOST_TAPS + TAPS - 1];
};

__device__ inline Window window_if(bool exists, const Geometry& g, const Pixel& pixel) {
    return exists ? window_of(g, pixel) : Window{0, OUTSIDE, OUTSIDE};
}

// Fill x_taps (taps, tile) with x under the taps of a tile of pixels, 0 in the padding.
__device__ inline void stage_windows(REAL* x_taps, const REAL* x, const Geometry& g, const Tables& tables, int tile,
                                     int taps) {
    const int threads = blockDim.x, tap_step = threads / tile, pixel_step = threads - tap_step * tile;
    int tap = threadIdx.x / tile, pixel = threadIdx.x - tap * tile;
#pragma unroll 4
    for (int i = threadIdx.x; i < taps * tile; i += threads) {
        const Window window = tables.windows[pixel];
        const Tap under = tables.taps[tap];
        x_taps[i] = is_inside(g, window, under) ? x[window.offset + under.offset] : REAL(0);
        tap += tap_step;
        pixel += pixel_step;
        if (pixel >= tile) {
            pixel -= tile;
            ++tap;
        }
    }
}

// What a block computes forward: PIXELS pixels and `block_filters` filters; and of these a thread's, a quad of pixels
// and FILTERS filters, of which `count` exist.
struct Share {
    Index first_pixel;
    int block_filters, first_filter, quad, filter, count;

    __device__ inline Share(const Geometry& g, int lanes) : block_filters(FILTERS * lanes) {
        const Index filter_blocks = ceil_div(g.filters, block_filters);
        first_pixel = blockIdx.x / filter_blocks * PIXELS;
        first_filter = blockIdx.x % filter_blocks * block_filters;
        quad = threadIdx.x / lanes * QUAD;
        filter = first_filter + threadIdx.x % lanes * FILTERS;
        count = g.filters - filter;
    }
};

// Add up the products of a thread's quad. The windows of `tables` are there after the next barrier; x_taps is dynamic
// shared memory.
__device__ inline void add_taps(REAL (&sum)[QUAD][FILTERS], const REAL* x, const REAL* w, const Geometry& g,
                                const Share& share, Tables& tables, REAL* x_taps) {
    const int taps = g.taps(), block_filters = share.block_filters;
    REAL* const w_taps = x_taps + taps * PIXELS;
    for (int i = threadIdx.x; i < taps; i += blockDim.x) tables.taps[i] = tap_of(g, i);
    for (int i = threadIdx.x; i < taps * block_filters; i += blockDim.x) {
        const int tap = i / block_filters, filter = share.first_filter + i - tap * block_filters;
        w_taps[i] = filter < g.filters ? w[static_cast<Index>(tap) * g.filters + filter] : REAL(0);
    }
    __syncthreads();
    stage_windows(x_taps, x, g, tables, PIXELS, taps);
    __syncthreads();

    const REAL* const w_filters = w_taps + share.filter - share.first_filter;
#pragma unroll 3
    for (int tap = 0; tap < taps; ++tap) {
        const auto values = read_pack<QUAD>(x_taps + tap * PIXELS + share.quad);
        const auto weights = read_pack<FILTERS>(w_filters + tap * block_filters);
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
#pragma unroll
            for (int e = 0; e < FILTERS; ++e) sum[i][e] = fma(values.value[i], weights.value[e], sum[i][e]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolution_few_channels(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                             REAL* __restrict__ y, REAL* __restrict__ saved, Index lanes, Index images, GEOMETRY,
                             DROPPING) {
    __shared__ Tables tables;
    DYNAMIC_SHARED(REAL, x_taps);
    const Geometry g = GEOMETRY_IN_INTS;
    const Share share(g, int(lanes));
    const Index pixels = images * out_height * out_width;
    for (int i = threadIdx.x; i < PIXELS; i += blockDim.x) {
        const Index pixel = share.first_pixel + i;
        tables.windows[i] = window_if(pixel < pixels, g, pixel_of(g, pixel));
    }
    REAL sum[QUAD][FILTERS] = {};
    add_taps(sum, x, w, g, share, tables, x_taps);
    if (share.count <= 0) return;
    const BiasActivation finish{b, y, saved, THIS_DROPPING};
#pragma unroll
    for (int i = 0; i < QUAD; ++i) {
        const Index pixel = share.first_pixel + share.quad + i;
        if (pixel < pixels) finish(sum[i], pixel * filters + share.filter, share.filter, share.count);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolution_few_channels_pooling(const REAL* __restrict__ x, const REAL* __restrict__ w,
                                     const REAL* __restrict__ b, REAL* __restrict__ y, REAL* __restrict__ saved,
                                     unsigned char* __restrict__ winner, Index lanes, Index pooled_height,
                                     Index pooled_width, Index images, GEOMETRY) {
    __shared__ Tables tables;
    DYNAMIC_SHARED(REAL, x_taps);
    const Geometry g = GEOMETRY_IN_INTS;
    const Share share(g, int(lanes));
    const Index windows = images * pooled_height * pooled_width, first_window = share.first_pixel / QUAD;
    for (int i = threadIdx.x; i < PIXELS; i += blockDim.x) {
        const Index window = first_window + i / QUAD;
        const Pixel place = pixel_of(int(pooled_height), int(pooled_width), window);
        const Pixel pixel{place.image, 2 * place.p + i % QUAD / 2, 2 * place.q + i % 2};
        const bool exists = window < windows && pixel.p < g.out_height && pixel.q < g.out_width;
        tables.windows[i] = window_if(exists, g, pixel);
    }
    REAL sum[QUAD][FILTERS] = {};
    add_taps(sum, x, w, g, share, tables, x_taps);
    const Index window = first_window + share.quad / QUAD;
    if (share.count <= 0 || window >= windows) return;
    Pack<FILTERS> bias = {};
    if (b != nullptr) bias = read<FILTERS>(b + share.filter, share.count);
    Maximum<FILTERS> best;
#pragma unroll
    for (int i = 0; i < QUAD; ++i) {
        if (tables.windows[share.quad + i].h == OUTSIDE) continue;
        Pack<FILTERS> z;
#pragma unroll
        for (int e = 0; e < FILTERS; ++e) z.value[e] = b != nullptr ? sum[i][e] + bias.value[e] : sum[i][e];
        best.meet(z, i);
    }
    const Index offset = window * filters + share.filter;
    write(y + offset, best.y.value, share.count);
    if (winner == nullptr) return;  // nor is z wanted
    write(winner + offset, best.winner.value, share.count);
    if (SAVES_INPUT) write(saved + offset, best.z.value, share.count);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolution_few_channels_kernel_gradient(const REAL* __restrict__ x, const REAL* __restrict__ dy,
                                             const REAL* __restrict__ saved,
                                             const unsigned char* __restrict__ winner, REAL* __restrict__ dw,
                                             REAL* __restrict__ db, REAL* __restrict__ partial, Index with_bias,
                                             Index dy_rows, Index dy_columns, Index lanes, Index tap_groups,
                                             Index tile, Index slab_tiles, Index images, GEOMETRY, REAL scale) {
    __shared__ Tables tables;
    __shared__ OutputGradient::Place outputs[PIXELS];
    DYNAMIC_SHARED(REAL, x_taps);
    const Geometry g = GEOMETRY_IN_INTS;
    const int block_filters = FILTERS * lanes, packs = block_filters / STAGED;
    const int rows = TAPS * tap_groups, tile_pixels = tile;
    REAL* const dz_tile = x_taps + rows * tile_pixels;
    const Index filter_blocks = ceil_div(filters, block_filters), pixels = images * out_height * out_width;
    const Index slab = blockIdx.x / filter_blocks;
    const int first_filter = blockIdx.x % filter_blocks * block_filters;
    const OutputGradient dz{dy, saved, winner, scale, int(dy_rows), int(dy_columns), g.filters};

    const int lane_threads = lanes * tap_groups, pixel_lanes = blockDim.x / lane_threads;
    const int pixel_lane = threadIdx.x / lane_threads, group = threadIdx.x % lane_threads / static_cast<int>(lanes);
    const int filter = threadIdx.x % static_cast<int>(lanes) * FILTERS;
    Sums<FILTERS> sums = {};
    int packs_log2 = 0;
    while (1 << packs_log2 < packs) ++packs_log2;

    for (int i = threadIdx.x; i < rows; i += blockDim.x) tables.taps[i] = tap_of(g, i);
    for (Index first = slab * slab_tiles * tile; first < pixels && first < (slab + 1) * slab_tiles * tile;
         first += tile) {
        for (int i = threadIdx.x; i < tile_pixels; i += blockDim.x) {
            const Pixel pixel = pixel_of(g, first + i);
            const bool exists = first + i < pixels;
            tables.windows[i] = window_if(exists, g, pixel);
            outputs[i] = exists ? dz.place(pixel) : OutputGradient::Place{-1, 0};
        }
        __syncthreads();  // the tables are complete, and the tile before is not read any more
        stage_windows(x_taps, x, g, tables, tile_pixels, rows);
#pragma unroll UNROLLED
        for (int i = threadIdx.x; i < tile_pixels * packs; i += blockDim.x) {
            const int pixel = i >> packs_log2, at = first_filter + (i & (packs - 1)) * STAGED;
            const OutputGradient::Place place = outputs[pixel];
            Pack<STAGED> pack = {};
            if (place.offset >= 0 && at < g.filters) {
                pack = dz.load<STAGED>(place.offset + at, place.number, g.filters - at);
            }
            reinterpret_cast<Pack<STAGED>*>(dz_tile)[i] = pack;
        }
        __syncthreads();
        for (int quad = pixel_lane * QUAD; quad < tile_pixels; quad += pixel_lanes * QUAD) {
            Pack<FILTERS> dz_quad[QUAD];
#pragma unroll
            for (int i = 0; i < QUAD; ++i) {
                dz_quad[i] = *reinterpret_cast<const Pack<FILTERS>*>(dz_tile + (quad + i) * block_filters + filter);
#pragma unroll
                for (int e = 0; e < FILTERS; ++e) sums[TAPS][e] += dz_quad[i].value[e];
            }
            const REAL* row = x_taps + group * TAPS * tile_pixels + quad;
#pragma unroll
            for (int t = 0; t < TAPS; ++t, row += tile_pixels) {
                const Pack<QUAD> values = *reinterpret_cast<const Pack<QUAD>*>(row);
#pragma unroll
                for (int i = 0; i < QUAD; ++i) {
#pragma unroll
                    for (int e = 0; e < FILTERS; ++e) {
                        sums[t][e] = fma(values.value[i], dz_quad[i].value[e], sums[t][e]);
                    }
                }
            }
        }
    }
    add_lanes<FILTERS>(sums, x_taps, pixel_lanes, lane_threads);
    const int count = g.filters - first_filter - filter;
    if (pixel_lane > 0 || count <= 0) return;
    const Index size = (g.taps() + (with_bias ? 1 : 0)) * filters;
    REAL* const dw_sums = partial != nullptr ? partial + slab * size : dw;
    REAL* const db_sums = partial != nullptr ? dw_sums + g.taps() * filters : db;
    store_sums<FILTERS>(sums, dw_sums, with_bias && group == 0 ? db_sums : nullptr, g, group * TAPS,
                        first_filter + filter, count);
}
