// Implicit GEMM: the operands that present a convolution as a matrix product, without ever storing the matrix.
//
// A position in an image or under a filter is a number in mixed radix: pixel = (image, row, column), tap = (filter row,
// filter column, channel). It is split by division once; after that it advances by BK, and its place in memory with it,
// by additions and carries only. Coordinates are ints: the launch checks that every extent, padding and dilation
// included, and every stride is below 2^30.
#include "geometry.cuh"
#include "layer.cuh"

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
};

// A number that advances along k, and the offset in memory that it stands for.
template <class Offset>
struct Position {
    Digits digits;
    Offset offset;
};

// How positions advance: one more in a digit is so many elements further in memory.
template <class Offset>
struct Walk {
    Radix radix;
    Offset high, middle, low;

    __device__ inline Position<Offset> at(const Digits& d) const {
        return {d, d.high * high + d.middle * middle + d.low * low};
    }
    __device__ inline Position<Offset> at(Index number) const { return at(radix.split(number)); }
    // The carries are a branch, seldom taken: most layers have more channels, and images more columns, than BK.
    __device__ inline void advance(Position<Offset>& p) const {
        Digits& d = p.digits;
        d.low += BK;
        p.offset += BK * low;
        while (d.low >= radix.lows) {
            d.low -= radix.lows;
            p.offset += middle - radix.lows * low;
            if (++d.middle == radix.middles) {
                d.middle = 0;
                ++d.high;
                p.offset += high - radix.middles * middle;
            }
        }
    }
};

// Offsets from tap to tap along k: int, which takes fewer registers, where gpunet/ops/convolution_sizes.py finds that
// all are below 2^31, else Index.
using TapOffset = TAP_OFFSET;

// What a pixel or a tap contributes to an element's place: coordinates, and an offset in memory.
struct Place {
    Index offset;
    int h, w;
};

// Along one axis, pixel i of the product sees under tap j number `first + i * stride + j * dilation` of the `size`
// rows or columns of an image.
struct Axis {
    int size, first, pixels, stride, taps, dilation;
};

// Elements from one image, row or column to the next.
struct Spacing {
    Index image, row, column;
};

// Operand: windows on images, element (pixel, tap) = what lies at the tap's place in the pixel's window, 0 outside the
// image. With PIXELS_ARE_LINES taps run along k, as the forward pass and the data gradient need it; else pixels do, as
// the filter gradient does. Along is the type of offsets along k. `channels` of an image take part, those from
// `first_channel` on.
template <bool PIXELS_ARE_LINES, class Values, class Along>
struct Windows {
    static constexpr bool K_RUNS = PIXELS_ARE_LINES;
    static constexpr bool IS_MEMORY = Values::IS_MEMORY;
    static constexpr int WIDTH = A_WIDTH;  // channels
    using Line = Place;
    using Step = Position<Along>;

    Values values;
    int images;
    Axis h, w;
    Index first;  // offset of the first window
    Walk<Index> pixels;
    Walk<Along> taps;

    __device__ inline Windows(const Values& values, int images, const Axis& h, const Axis& w, const Spacing& by,
                              int first_channel, int channels)
        : values(values),
          images(images),
          h(h),
          w(w),
          first(h.first * by.row + w.first * by.column + first_channel),
          pixels{{h.pixels, w.pixels}, by.image, h.stride * by.row, w.stride * by.column},
          taps{{w.taps, channels}, static_cast<Along>(h.dilation * by.row), static_cast<Along>(w.dilation * by.column),
               1} {}

    __device__ inline Place pixel(const Position<Index>& p) const {
        return {first + p.offset, p.digits.middle * h.stride + h.first, p.digits.low * w.stride + w.first};
    }
    __device__ inline Place tap(const Position<Along>& p) const {
        return {p.offset, p.digits.high * h.dilation, p.digits.middle * w.dilation};
    }

    __device__ inline Line line(const Digits& d) const {
        if (d.high >= (PIXELS_ARE_LINES ? images : h.taps)) return {0, OUTSIDE, OUTSIDE};
        return PIXELS_ARE_LINES ? pixel(pixels.at(d)) : tap(taps.at(d));
    }
    __device__ inline Line line(Index i) const { return line((PIXELS_ARE_LINES ? pixels.radix : taps.radix).split(i)); }
    __device__ inline Step step(Index k) const {
        if constexpr (PIXELS_ARE_LINES) {
            return taps.at(k);
        } else {
            return pixels.at(k);
        }
    }
    __device__ inline void advance(Step& step) const {
        if constexpr (PIXELS_ARE_LINES) {
            taps.advance(step);
        } else {
            pixels.advance(step);
        }
    }
    __device__ inline Place place(const Line& line, const Step& step) const {
        Place other;
        if constexpr (PIXELS_ARE_LINES) {
            other = tap(step);
        } else {
            other = pixel(step);
        }
        return {line.offset + other.offset, line.h + other.h, line.w + other.w};
    }
    __device__ inline bool is_inside(const Line& line, const Step& step) const {
        if (step.digits.high >= (PIXELS_ARE_LINES ? h.taps : images)) return false;
        const Place here = place(line, step);
        return static_cast<unsigned>(here.h) < static_cast<unsigned>(h.size) &&
               static_cast<unsigned>(here.w) < static_cast<unsigned>(w.size);
    }
    __device__ inline const REAL* address(const Line& line, const Step& step) const {
        return values.address(place(line, step).offset);
    }
    __device__ inline Pack<WIDTH> load(const Line& line, const Step& step) const {
        if (!is_inside(line, step)) return {};
        const Place here = place(line, step);
        return values.template load<WIDTH>(here.offset, here.h, here.w);
    }
};

// Elements that lie where the offset says, whatever row and column that is.
template <class Elements>
struct AtOffset {
    static constexpr bool IS_MEMORY = Elements::IS_MEMORY;
    Elements elements;

    __device__ inline const REAL* address(Index offset) const { return elements.address(offset); }
    template <int WIDTH>
    __device__ inline Pack<WIDTH> load(Index offset, int, int) const {
        return elements.template load<WIDTH>(offset);
    }
};

// The windows of a group in x, one for each pixel of y.
template <bool PIXELS_ARE_LINES, class Along>
struct WindowsOfInput : Windows<PIXELS_ARE_LINES, AtOffset<Plain>, Along> {
    __device__ inline WindowsOfInput(const REAL* x, const Geometry& g, int images, int group)
        : Windows<PIXELS_ARE_LINES, AtOffset<Plain>, Along>(
              {{x}}, images, {g.height, -g.top, g.out_height, g.stride_h, g.kernel_height, g.dilation_h},
              {g.width, -g.left, g.out_width, g.stride_w, g.kernel_width, g.dilation_w},
              {static_cast<Index>(g.height) * g.width * g.channels, static_cast<Index>(g.width) * g.channels,
               g.channels},
              group * g.group_channels, g.group_channels) {}
};
