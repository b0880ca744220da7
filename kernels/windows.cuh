// Implicit GEMM: the operands that present a convolution as a matrix product, without ever storing the matrix.
//
// A position in an image or under a filter is a number in mixed radix: pixel = (image, row, column), tap = (filter row,
// filter column, channel). It is split by division once; after that it advances by BK with carries only. Coordinates
// are ints: the launch checks that every extent, padding and dilation included, and every stride is below 2^30.
#include "layer.cuh"

// Sizes of a convolution.
struct Geometry {
    int height, width, channels;         // of x
    int out_height, out_width, filters;  // of y
    int kernel_height, kernel_width, stride_h, stride_w, dilation_h, dilation_w;
    int top, left;                      // padding
    int group_channels, group_filters;  // channels and filters of one group
};

// They as kernels take them; integers of the launch are Index.
#define GEOMETRY                                                                                              \
    Index height, Index width, Index channels, Index out_height, Index out_width, Index filters,              \
        Index kernel_height, Index kernel_width, Index stride_h, Index stride_w, Index dilation_h,            \
        Index dilation_w, Index top, Index left, Index groups
#define GEOMETRY_IN_INTS                                                                                               \
    {                                                                                                         \
        int(height), int(width), int(channels), int(out_height), int(out_width), int(filters),                \
            int(kernel_height), int(kernel_width), int(stride_h), int(stride_w), int(dilation_h),             \
            int(dilation_w), int(top), int(left), int(channels / groups), int(filters / groups)               \
    }

// A number in three digits: (high * middles + middle) * lows + low, where high has no bound.
struct Digits {
    int high, middle, low;
};

struct Radix {
    int middles, lows;

    __device__ inline Digits split(Index number) const {
        const Index rest = quotient(number, lows);
        const Index high = quotient(rest, middles);
        return {int(high), int(rest - high * middles), int(number - rest * lows)};
    }
    __device__ inline Digits add(Digits a, const Digits& b) const {
        a.low += b.low;
        a.middle += b.middle;
        a.high += b.high;
        if (a.low >= lows) {
            a.low -= lows;
            ++a.middle;
        }
        if (a.middle >= middles) {
            a.middle -= middles;
            ++a.high;
        }
        return a;
    }
    // A 64-bit division takes four times as long as a 32-bit one, and numbers are seldom that large.
    __device__ static inline Index quotient(Index a, int b) {
        return a <= 0x7fffffff ? int(a) / b : a / b;
    }
};

// What a pixel or a tap contributes to an element's place: coordinates, and an offset in memory. OUTSIDE as a
// coordinate leaves the image whatever is added to it or subtracted from it.
struct Place {
    Index offset;
    int h, w;
};
constexpr int OUTSIDE = -(1 << 30);

// Operand: the windows of x, element (pixel of y, tap) = x at the tap's place in the pixel's window, 0 in the padding.
// With PIXELS_ARE_LINES taps run along k, as the forward pass needs it; else pixels do, as the filter gradient does.
template <bool PIXELS_ARE_LINES>
struct Windows {
    static constexpr bool K_RUNS = PIXELS_ARE_LINES;
    static constexpr bool IS_MEMORY = false;
    static constexpr int WIDTH = A_WIDTH;  // channels
    using Line = Place;
    using Step = Digits;

    const REAL* x;
    Geometry g;
    int images, first_channel;
    Radix pixels, taps;
    Digits tile;  // BK, in digits of k

    __device__ inline Windows(const REAL* x, const Geometry& g, int images, int group)
        : x(x),
          g(g),
          images(images),
          first_channel(group * g.group_channels),
          pixels{g.out_height, g.out_width},
          taps{g.kernel_width, g.group_channels},
          tile(PIXELS_ARE_LINES ? taps.split(BK) : pixels.split(BK)) {}

    __device__ inline Place pixel(const Digits& d) const {
        if (d.high >= images) return {0, OUTSIDE, OUTSIDE};
        const int h = d.middle * g.stride_h - g.top;
        const int w = d.low * g.stride_w - g.left;
        const Index row = static_cast<Index>(d.high) * g.height + h;
        return {(row * g.width + w) * g.channels + first_channel, h, w};
    }
    __device__ inline Place tap(const Digits& d) const {
        if (d.high >= g.kernel_height) return {0, OUTSIDE, OUTSIDE};
        const int h = d.high * g.dilation_h;
        const int w = d.middle * g.dilation_w;
        return {(static_cast<Index>(h) * g.width + w) * g.channels + d.low, h, w};
    }

    __device__ inline Line line(Index i) const {
        return PIXELS_ARE_LINES ? pixel(pixels.split(i)) : tap(taps.split(i));
    }
    __device__ inline Step step(Index k) const { return PIXELS_ARE_LINES ? taps.split(k) : pixels.split(k); }
    __device__ inline void advance(Step& step) const {
        step = PIXELS_ARE_LINES ? taps.add(step, tile) : pixels.add(step, tile);
    }
    __device__ inline Pack<WIDTH> load(const Line& line, const Step& step) const {
        const Place other = PIXELS_ARE_LINES ? tap(step) : pixel(step);
        const unsigned h = line.h + other.h;
        const unsigned w = line.w + other.w;
        const bool inside = h < static_cast<unsigned>(g.height) && w < static_cast<unsigned>(g.width);
        if (!inside) return {};
        return read_pack<WIDTH>(x + line.offset + other.offset);
    }
};

// dz at pixel (p, q) of y, of the image and the filter that `offset` stands for.
struct PixelsOfOutput {
    OutputGradient dz;
    Geometry g;

    __device__ inline Index image(int number) const {
        return static_cast<Index>(number) * g.out_height * g.out_width * g.filters;
    }
    template <int WIDTH>
    __device__ inline Pack<WIDTH> load(Index offset, int p, int q) const {
        const Index pixel = static_cast<Index>(p) * g.out_width + q;
        return dz.template load<WIDTH>(offset + pixel * g.filters);
    }
};

// Operand of the data gradient: element (pixel of x, tap) = dz at the output pixel whose window has the pixel of x
// under the tap, 0 where there is none. A tap's lowest digit is the filter here. `Outputs` knows where dz is.
template <class Outputs>
struct OutputsOfPixel {
    static constexpr bool K_RUNS = true;
    static constexpr bool IS_MEMORY = false;
    static constexpr int WIDTH = A_WIDTH;  // filters
    using Line = Place;
    using Step = Digits;

    Outputs dz;
    Geometry g;
    int images, first_filter;
    Radix pixels, taps;
    Digits tile;

    __device__ inline OutputsOfPixel(const Outputs& dz, const Geometry& g, int images, int group)
        : dz(dz),
          g(g),
          images(images),
          first_filter(group * g.group_filters),
          pixels{g.height, g.width},
          taps{g.kernel_width, g.group_filters},
          tile(taps.split(BK)) {}

    __device__ inline Line line(Index i) const {
        const Digits d = pixels.split(i);
        if (d.high >= images) return {0, OUTSIDE, OUTSIDE};
        return {dz.image(d.high) + first_filter, d.middle + g.top, d.low + g.left};
    }
    __device__ inline Place tap(const Digits& d) const {
        if (d.high >= g.kernel_height) return {0, -OUTSIDE, -OUTSIDE};
        return {d.low, d.high * g.dilation_h, d.middle * g.dilation_w};
    }
    __device__ inline Step step(Index k) const { return taps.split(k); }
    __device__ inline void advance(Step& step) const { step = taps.add(step, tile); }
    // Number of the window that begins `distance` after the first one; negative if there is none.
    __device__ static inline int window(int distance, int stride, int windows) {
        const int number = stride == 1 ? distance : distance / stride;
        return number * stride == distance && number < windows ? number : -1;
    }
    __device__ inline Pack<WIDTH> load(const Line& line, const Step& step) const {
        const Place other = tap(step);
        const int p = window(line.h - other.h, g.stride_h, g.out_height);
        const int q = window(line.w - other.w, g.stride_w, g.out_width);
        if (p < 0 || q < 0) return {};
        return dz.template load<WIDTH>(line.offset + other.offset, p, q);
    }
};

// Operand of the data gradient: element (channel, tap) = w[filter row, filter column, channel, filter], where a tap is
// (filter row, filter column, filter).
struct FiltersOfChannel {
    static constexpr bool K_RUNS = true;
    static constexpr bool IS_MEMORY = false;
    static constexpr int WIDTH = B_WIDTH;  // filters
    using Line = Index;  // offset; negative outside
    using Step = Digits;

    const REAL* w;
    Geometry g;
    int first_filter;
    Radix taps;
    Digits tile;

    __device__ inline FiltersOfChannel(const REAL* w, const Geometry& g, int group)
        : w(w),
          g(g),
          first_filter(group * g.group_filters),
          taps{g.kernel_width, g.group_filters},
          tile(taps.split(BK)) {}

    __device__ inline Line line(Index i) const { return i < g.group_channels ? i * g.filters + first_filter : -1; }
    __device__ inline Step step(Index k) const { return taps.split(k); }
    __device__ inline void advance(Step& step) const { step = taps.add(step, tile); }
    __device__ inline Pack<WIDTH> load(Line line, const Step& step) const {
        if (line < 0 || step.high >= g.kernel_height) return {};
        const Index place = static_cast<Index>(step.high) * g.kernel_width + step.middle;
        return read_pack<WIDTH>(w + line + place * g.group_channels * g.filters + step.low);
    }
};
