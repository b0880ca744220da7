// The gradients of convolution_pooling.cu, from that of its maxima: dz is computed as it is read, and never stored.
//
// Math:     dz[n, 2u + r, 2v + s, f] = dy[n,u,v,f] f'(z) where winner[n,u,v,f] is 2 r + s; dz = 0 elsewhere, and where
//               no window is; dx, dw and db from dz as in convolution.cu
// Layout:   dy, saved, winner (images, pooled_height, pooled_width, filters), winner in bytes; x, dx, w, dw, db and
//           partial as in convolution.cu. out_height and out_width are those of dz
// Launch:   as convolution_input_gradient and convolution_kernel_gradient in convolution.cu
// Memory:   as there, but that dy and saved have a fourth of the elements, and winner a byte for each of these. They
//           are read once for each element of a window, from cache but for the first time; neighbouring threads read
//           neighbouring filters
// Edges:    as convolution.cu
// Numerics: as convolution.cu, in the same order, zeros included: the same bits as with pooling.cu before it
// Cost:     that of convolution.cu; at least 4 (size of x + size of w) + 9 (size of dy) bytes for float
#include "phases.cuh"

// dz at pixel (p, q) of z, of the image and the filter that `offset` stands for.
struct PixelsOfPooledOutput {
    static constexpr bool IS_MEMORY = false;
    OutputGradient dz;
    const unsigned char* winner;
    Radix pooled;
    int filters;

    // A row or a column of z has no place of its own in memory.
    __device__ inline Spacing by() const { return {static_cast<Index>(pooled.middles) * pooled.lows * filters, 0, 0}; }
    template <int WIDTH>
    __device__ inline Pack<WIDTH> load(Index offset, int p, int q) const {
        const int u = p / 2, v = q / 2;
        if (u >= pooled.middles || v >= pooled.lows) return {};
        const Index place = offset + (static_cast<Index>(u) * pooled.lows + v) * filters;
        const Pack<WIDTH, unsigned char> winners = read_pack<WIDTH>(winner + place);
        Pack<WIDTH> pack = dz.template load<WIDTH>(place);
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) {
            if (winners.value[e] != 2 * (p - 2 * u) + q - 2 * v) pack.value[e] = 0;
        }
        return pack;
    }
};

// Operand of the filter gradient: element (filter, pixel of z) = dz.
struct PooledOutputColumns {
    static constexpr bool K_RUNS = false;
    static constexpr bool IS_MEMORY = false;
    static constexpr int WIDTH = B_WIDTH;  // filters
    using Line = Index;                    // the filter; negative outside
    using Step = Position<Index>;

    PixelsOfPooledOutput dz;
    int images, first_filter, group_filters;
    Walk<Index> pixels;

    __device__ inline PooledOutputColumns(const PixelsOfPooledOutput& dz, const Geometry& g, int images, int group)
        : dz(dz),
          images(images),
          first_filter(group * g.group_filters),
          group_filters(g.group_filters),
          pixels{{g.out_height, g.out_width}, dz.by().image, 0, 0} {}

    __device__ inline Line line(Index i) const { return i < group_filters ? first_filter + i : -1; }
    __device__ inline Step step(Index k) const { return pixels.at(k); }
    __device__ inline void advance(Step& step) const { pixels.advance(step); }
    __device__ inline Pack<WIDTH> load(Line line, const Step& step) const {
        if (line < 0 || step.digits.high >= images) return {};
        return dz.template load<WIDTH>(line + step.offset, step.digits.middle, step.digits.low);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution_pooling_input_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ saved,
                                       const unsigned char* __restrict__ winner, const REAL* __restrict__ w,
                                       REAL* __restrict__ dx, REAL* __restrict__ partial, Index pooled_height,
                                       Index pooled_width, Index images, GEOMETRY) {
    __shared__ Tiles tiles;
    __shared__ Rows rows;
    const Geometry g = with_known_strides(GEOMETRY_IN_INTS);
    const PixelsOfPooledOutput dz{{dy, saved}, winner, {int(pooled_height), int(pooled_width)}, g.filters};
    REAL* const sums = partial != nullptr ? partial + blockIdx.z * images * height * width * channels : dx;
    input_gradient(tiles, rows, dz, dz.by(), w, g, images, sums);
}

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution_pooling_kernel_gradient(const REAL* __restrict__ x, const REAL* __restrict__ dy,
                                        const REAL* __restrict__ saved, const unsigned char* __restrict__ winner,
                                        REAL* __restrict__ dw, REAL* __restrict__ db, REAL* __restrict__ partial,
                                        Index with_bias, Index pooled_height, Index pooled_width, Index images,
                                        GEOMETRY) {
    __shared__ Tiles tiles;
    const Geometry g = with_known_strides(GEOMETRY_IN_INTS);
    const int group = blockIdx.y;
    const Index pixels = images * out_height * out_width;
    const Index taps = kernel_height * kernel_width * g.group_channels;
    const Index first_filter = group * g.group_filters;
    const Index split_size = taps * filters + (with_bias ? filters : 0);
    REAL* const dw_sums = partial != nullptr ? partial + blockIdx.z * split_size : dw;
    REAL* const db_sums = partial != nullptr ? dw_sums + taps * filters : db;
    const PixelsOfPooledOutput values{{dy, saved}, winner, {int(pooled_height), int(pooled_width)}, g.filters};

    const Part part(g.group_filters, pixels);
    const WindowsOfInput<false, Index> windows(x, g, images, group);
    const PooledOutputColumns dz_columns(values, g, images, group);
    const Output out{dw_sums + first_filter, taps, g.group_filters, filters};
    gemm(tiles, part, windows, dz_columns, out, with_bias ? db_sums + first_filter : nullptr, Store{});
}
