// Convolution with small groups, depthwise above all: forward with bias and activation, and both gradients. A group is
// far smaller than a tile of convolution.cu, so that reading and writing images matters most, not arithmetic.
//
// Math:     that of convolution.cu; for the gradient of the filters, if POOLED, that of convolution_pooling_gradient.cu
// Layout:   as convolution.cu; if POOLED, dy, saved and winner as convolution_pooling_gradient.cu. `partial` holds, per
//           slab of pixels, dw and db behind each other; null if there is one slab only, and dw and db are null else
// Launch:   a thread computes OWN neighbouring filters (or channels): 4 in a depthwise convolution with as many filters
//           as channels, so that each has its own channel, else 1. Neighbouring threads go along the filters. A
//           multiprocessor holds BLOCKS blocks at least (direct.cuh).
//           convolution_grouped: a thread per OWN filters of STRIP neighbouring pixels of a row of y
//           convolution_grouped_input_gradient: a thread per OWN channels of STRIP pixels of a row of x that lie
//           stride_w apart and so are under the same taps
//           convolution_grouped_kernel_gradient: a block adds up `slab` pixels, for `lanes` times OWN filters and TAPS
//           taps; threads are (lane of pixels, filters), and lanes of pixels are added up in a fixed order. Blocks are
//           numbered (slab, filters, group of taps)
// Memory:   images are read through the caches, once per tap; neighbouring threads read neighbouring channels, 16 bytes
//           at once where WIDTH allows. A weight is read once for STRIP pixels. dz is computed as it is read; each
//           group of TAPS taps reads it again, from cache
// Edges:    any size >= 1, any stride, dilation and padding; padding is 0 times w. The input gradient visits only taps
//           at which a window has the pixel
// Numerics: forward fma over (r, s, c), input gradient over (r, s, f): the same bits as convolution.cu. Filter
//           gradient: fma over at most 512 pixels, then trees over lanes, then over slabs in order (finish.cu); no
//           atomics: the same bits at every run
// Cost:     2 images out_height out_width taps filters flop each, taps being those of a group; at least
//           4 (size of x + size of w + size of y) bytes for float
#include "direct.cuh"

constexpr int STRIP = 4;  // pixels of a thread

// The part of an image that a thread computes: `packs` threads for its channels, `strips` for a row.
struct Work {
    Index image;  // may be beyond the last one
    int row, strip, channel;

    __device__ inline Work(Index thread, int channels, int strips, int rows) {
        const int packs = (channels + OWN - 1) / OWN;
        const Index rest = quotient(thread, packs), line = quotient(rest, strips);
        image = quotient(line, rows);
        row = line - image * rows;
        strip = rest - line * strips;
        channel = (thread - rest * packs) * OWN;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolution_grouped(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                        REAL* __restrict__ y, REAL* __restrict__ saved, Index images, GEOMETRY, DROPPING) {
    const Geometry g = GEOMETRY_IN_INTS;
    const Work work(global_thread(), g.filters, (g.out_width + STRIP - 1) / STRIP, g.out_height);
    if (work.image >= images) return;
    const int filter = work.channel, count = g.filters - filter, first_q = work.strip * STRIP;
    const int apart = static_cast<int>(stride_w * channels);  // elements from a window to the next, if there is one
    const Window window = window_of(g, {int(work.image), work.row, first_q});
    x += window.offset + filter / g.group_filters * g.group_channels;
    w += filter;
    REAL sum[STRIP][OWN] = {};
    for (int r = 0; r < g.kernel_height; ++r) {
        const int h = window.h + r * g.dilation_h;
        const unsigned columns = h >= 0 && h < g.height ? g.width : 0;  // of x that this row of taps can see
        for (int s = 0; s < g.kernel_width; ++s) {
            const REAL* under = x + (static_cast<Index>(r * g.dilation_h) * g.width + s * g.dilation_w) * g.channels;
#pragma unroll 1  // a depthwise convolution takes one turn
            for (int c = 0; c < g.group_channels; ++c, ++under, w += g.filters) {
                const Pack<OWN> weights = read<OWN>(w, count);
                Pack<OWN> values[STRIP] = {};  // all loads are under way before the first is waited for
#pragma unroll
                for (int i = 0; i < STRIP; ++i) {
                    const unsigned column = window.w + s * g.dilation_w + i * g.stride_w;
                    if (column < columns) values[i] = read<OWN>(under + static_cast<Index>(i) * apart, count);
                }
#pragma unroll
                for (int i = 0; i < STRIP; ++i) {
#pragma unroll
                    for (int e = 0; e < OWN; ++e) sum[i][e] = fma(values[i].value[e], weights.value[e], sum[i][e]);
                }
            }
        }
    }
    const BiasActivation finish{b, y, saved, THIS_DROPPING};
    const Index pixel = (work.image * g.out_height + work.row) * g.out_width + first_q;
#pragma unroll
    for (int i = 0; i < STRIP; ++i) {
        if (first_q + i < g.out_width) finish(sum[i], (pixel + i) * g.filters + filter, filter, count);
    }
}

// Along an axis, the first of `taps` taps that a pixel can lie under, or `taps`, and the number of the window to which
// that tap belongs, negative before the first one. The next such tap is `tap_step` further, its window `window_step`
// before that one: stride and dilation without their common divisors.
struct Start {
    int first, window;

    // The pixel lies `distance` after the beginning of window 0.
    __device__ inline Start(int distance, int stride, int dilation, int taps)
        : first(first_tap(distance, stride, dilation, taps)),
          window(first < taps ? (distance - first * dilation) / stride : OUTSIDE) {}
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolution_grouped_input_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ saved,
                                       const REAL* __restrict__ w, REAL* __restrict__ dx, Index tap_step_h,
                                       Index tap_step_w, Index window_step_h, Index window_step_w, Index images,
                                       GEOMETRY, REAL scale) {
    const Geometry g = GEOMETRY_IN_INTS;
    const int phases = g.stride_w < g.width ? g.stride_w : g.width;
    const int of_phase = ((g.width + g.stride_w - 1) / g.stride_w + STRIP - 1) / STRIP;  // strips
    const Work work(global_thread(), g.channels, phases * of_phase, g.height);
    if (work.image >= images) return;
    const int channel = work.channel, count = g.channels - channel, group = channel / g.group_channels;
    const int phase = work.strip / of_phase;
    const int column = phase + (work.strip - phase * of_phase) * STRIP * g.stride_w;
    const Start along_h(work.row + g.top, g.stride_h, g.dilation_h, g.kernel_height);
    const Start along_w(column + g.left, g.stride_w, g.dilation_w, g.kernel_width);
    const OutputGradient dz{dy, saved, nullptr, scale, g.out_height, g.out_width, g.filters};
    const int filter = group * g.group_filters;
    w += static_cast<Index>(channel - group * g.group_channels) * g.filters + filter;

    REAL sum[STRIP][OWN] = {};
    for (int r = along_h.first, p = along_h.window; r < g.kernel_height && p >= 0;
         r += tap_step_h, p -= window_step_h) {
        if (p >= g.out_height) continue;
        const Index line = (work.image * g.out_height + p) * g.out_width;
        for (int s = along_w.first, q = along_w.window; s < g.kernel_width && q > -STRIP;
             s += tap_step_w, q -= window_step_w) {
            if (q >= g.out_width) continue;
            const REAL* weight = w + static_cast<Index>(r * g.kernel_width + s) * g.group_channels * g.filters;
            const Index first = (line + q) * g.filters + filter;
#pragma unroll 1  // a depthwise convolution takes one turn
            for (int f = 0; f < g.group_filters; ++f) {
                const Pack<OWN> weights = read<OWN>(weight + f, count);
#pragma unroll
                for (int i = 0; i < STRIP; ++i) {
                    if (q + i < 0 || q + i >= g.out_width) continue;
                    const Index place = first + f + static_cast<Index>(i) * g.filters;
                    const Pack<OWN> values = dz.load<OWN>(place, 0, count);
#pragma unroll
                    for (int e = 0; e < OWN; ++e) sum[i][e] = fma(values.value[e], weights.value[e], sum[i][e]);
                }
            }
        }
    }
    const Index pixel = (work.image * g.height + work.row) * g.width + column;
#pragma unroll
    for (int i = 0; i < STRIP; ++i) {
        const int along = i * g.stride_w;
        if (column + along < g.width) write(dx + (pixel + along) * g.channels + channel, sum[i], count);
    }
}

// Return a bit for each tap that lies inside the image. Most windows do as a whole; what a tap that does not exist adds
// is never stored.
__device__ inline unsigned taps_inside(const Geometry& g, const Window& window, const Tap (&taps)[TAPS]) {
    if (is_inside(g, window)) return (1u << TAPS) - 1;
    unsigned bits = 0;
#pragma unroll 1
    for (int t = 0; t < TAPS; ++t) bits |= static_cast<unsigned>(is_inside(g, window, taps[t])) << t;
    return bits;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolution_grouped_kernel_gradient(const REAL* __restrict__ x, const REAL* __restrict__ dy,
                                        const REAL* __restrict__ saved, const unsigned char* __restrict__ winner,
                                        REAL* __restrict__ dw, REAL* __restrict__ db, REAL* __restrict__ partial,
                                        Index with_bias, Index dy_rows, Index dy_columns, Index lanes, Index slab,
                                        Index images, GEOMETRY, REAL scale) {
    __shared__ Tap taps[TAPS];
    __shared__ REAL shared[(TAPS + 1) * OWN * (THREADS / 2)];
    const Geometry g = GEOMETRY_IN_INTS;
    const Index tap_groups = ceil_div(g.taps(), TAPS), filter_blocks = ceil_div(filters, OWN * lanes);
    const Index rest = blockIdx.x / tap_groups, number = rest / filter_blocks;
    const int first_tap = (blockIdx.x - rest * tap_groups) * TAPS;
    const int lane_threads = lanes, pixel_lanes = blockDim.x / lane_threads, pixel_lane = threadIdx.x / lane_threads;
    const int filter = ((rest - number * filter_blocks) * lanes + threadIdx.x % lane_threads) * OWN;
    const int count = g.filters - filter;
    const OutputGradient dz{dy, saved, winner, scale, int(dy_rows), int(dy_columns), g.filters};
    x += count > 0 ? filter / g.group_filters * g.group_channels : 0;

    if (threadIdx.x < TAPS) taps[threadIdx.x] = tap_of(g, first_tap + threadIdx.x);
    __syncthreads();
    Sums<OWN> sums = {};
    const Index first = number * slab + pixel_lane, pixels_left = images * out_height * out_width - first;
    const Index length = pixels_left < slab - pixel_lane ? pixels_left : slab - pixel_lane;
    const Pixel step = pixel_of(g, pixel_lanes);
    Pixel pixel = pixel_of(g, first);
    for (int left = count > 0 ? int(length) : 0; left > 0; left -= pixel_lanes, pixel = add(g, pixel, step)) {
        const OutputGradient::Place place = dz.place(pixel);
        const Window window = window_of(g, pixel);
        Pack<OWN> dz_pixel = {};
        if (place.offset >= 0) dz_pixel = dz.load<OWN>(place.offset + filter, place.number, count);
        const unsigned inside = taps_inside(g, window, taps);
#pragma unroll
        for (int t = 0; t < TAPS; ++t) {
            Pack<OWN> values = {};
            if (inside >> t & 1) values = read<OWN>(x + window.offset + taps[t].offset, count);
#pragma unroll
            for (int e = 0; e < OWN; ++e) sums[t][e] = fma(values.value[e], dz_pixel.value[e], sums[t][e]);
        }
#pragma unroll
        for (int e = 0; e < OWN; ++e) sums[TAPS][e] += dz_pixel.value[e];
    }
    add_lanes<OWN>(sums, shared, pixel_lanes, lane_threads);
    if (pixel_lane > 0 || count <= 0) return;
    const Index size = (g.taps() + (with_bias ? 1 : 0)) * filters;
    REAL* const dw_sums = partial != nullptr ? partial + number * size : dw;
    REAL* const db_sums = partial != nullptr ? dw_sums + g.taps() * filters : db;
    store_sums<OWN>(sums, dw_sums, with_bias && first_tap == 0 ? db_sums : nullptr, g, first_tap, filter, count);
}
