// Convolution as implicit GEMM: forward with bias and activation, and both gradients with the activation's gradient and
// the bias's gradient in the same kernels. (What Keras and this file call a convolution is a cross-correlation.)
//
// Math:     convolution: z[n,p,q,f] = b[f] + sum over r,s,c of x[n, p stride_h + r dilation_h - top,
//               q stride_w + s dilation_w - left, c] w[r,s,c,f];  y = f(z), of which dropping.cuh may
//               drop elements; saved = z where f' needs it
//           convolution_input_gradient: dx[n,h,w,c] = sum over r,s,f of dz[n,p,q,f] w[r,s,c,f], over those (r,s) for
//               which a window (p,q) has pixel (h,w) under its tap (r,s);  dz = scale dy f'(z), where scale
//               is 1 but for dropping
//           convolution_kernel_gradient: dw[r,s,c,f] = sum over n,p,q of (the x of the forward sum) dz[n,p,q,f];
//               db[f] = sum over n,p,q of dz[n,p,q,f]
//           With groups, the filters of group g see only the channels of group g.
// Layout:   x, dx (images, height, width, channels); y, dy, saved (images, out_height, out_width, filters);
//           w, dw (kernel_height, kernel_width, channels / groups, filters); b, db (filters). `partial` is the
//           workspace of a split sum, one output (for convolution_kernel_gradient dw and db behind each other) per
//           split; null if there is one split only, and the outputs are null else.
// Launch:   THREADS a block, a block per tile of BM x BN outputs, group and split: grid (tiles, groups, splits). As a
//           product (m, k) (k, n): forward (pixels of y, taps) (taps, filters); input gradient (pixels of x, taps)
//           (taps, channels) for each of the min(stride_h, height) min(stride_w, width) phases of phases.cuh, all with
//           as many tiles as the largest; kernel gradient (taps, pixels of y) (pixels of y, filters). STRIDED is 0
//           where both strides are 1. A multiprocessor holds FEWER_BLOCKS at least (loader.cuh)
// Memory:   tiles go through shared memory; the windows' overlap is read from the caches. Neighbouring threads copy
//           neighbouring channels or filters, 16 bytes at once where a group has a multiple of as many
// Edges:    any size >= 1, any stride, dilation and (asymmetric) padding; padding is 0; extents below 2^30
// Numerics: fma in chunks of CHUNK (gemm.cuh); splits are added in order by finish.cu; no atomics: the same bits at
//           every run
// Cost:     2 images out_height out_width kernel_height kernel_width (channels / groups) filters flop each, of which
//           those in the padding are done too; the input gradient does not multiply the zeros between windows. At least
//           4 (size of x + size of w + size of y) bytes for float.
#include "phases.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                REAL* __restrict__ y, REAL* __restrict__ saved, REAL* __restrict__ partial, Index images, GEOMETRY,
                DROPPING) {
    __shared__ Tiles tiles;
    const Geometry g = with_known_strides(GEOMETRY_IN_INTS);
    const int group = blockIdx.y;
    const Index pixels = images * out_height * out_width;
    const Index taps = kernel_height * kernel_width * g.group_channels;
    const Index first_filter = group * g.group_filters;
    const bool is_split = partial != nullptr;

    const Part part(g.group_filters, taps);
    const WindowsOfInput<true, TapOffset> windows(x, g, images, group);
    const Matrix<false, B_WIDTH, Plain> w_columns{{w}, g.group_filters, taps, filters, first_filter};
    REAL* const sums = is_split ? partial + blockIdx.z * pixels * filters : y;
    const Output out{sums + first_filter, pixels, g.group_filters, filters};
    const BiasActivation epilogue{b != nullptr ? b + first_filter : nullptr,
                                  saved != nullptr ? saved + first_filter : nullptr, is_split, THIS_DROPPING,
                                  first_filter};
    gemm(tiles, part, windows, w_columns, out, nullptr, epilogue);
}

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution_input_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ saved, const REAL* __restrict__ w,
                               REAL* __restrict__ dx, REAL* __restrict__ partial, Index images, GEOMETRY, REAL scale) {
    __shared__ Tiles tiles;
    __shared__ Rows rows;
    const Geometry g = with_known_strides(GEOMETRY_IN_INTS);
    const Spacing by{out_height * out_width * filters, out_width * filters, filters};
    REAL* const sums = partial != nullptr ? partial + blockIdx.z * images * height * width * channels : dx;
    input_gradient(tiles, rows, AtOffset<OutputGradient>{{dy, saved, scale}}, by, w, g, images, sums);
}

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution_kernel_gradient(const REAL* __restrict__ x, const REAL* __restrict__ dy,
                                const REAL* __restrict__ saved, REAL* __restrict__ dw, REAL* __restrict__ db,
                                REAL* __restrict__ partial, Index with_bias, Index images, GEOMETRY, REAL scale) {
    __shared__ Tiles tiles;
    const Geometry g = with_known_strides(GEOMETRY_IN_INTS);
    const int group = blockIdx.y;
    const Index pixels = images * out_height * out_width;
    const Index taps = kernel_height * kernel_width * g.group_channels;
    const Index first_filter = group * g.group_filters;
    const Index split_size = taps * filters + (with_bias ? filters : 0);
    REAL* const dw_sums = partial != nullptr ? partial + blockIdx.z * split_size : dw;
    REAL* const db_sums = partial != nullptr ? dw_sums + taps * filters : db;

    const Part part(g.group_filters, pixels);
    const WindowsOfInput<false, Index> windows(x, g, images, group);
    const Matrix<false, B_WIDTH, OutputGradient> dz_columns{
        {dy, saved, scale}, g.group_filters, pixels, filters, first_filter};
    const Output out{dw_sums + first_filter, taps, g.group_filters, filters};
    gemm(tiles, part, windows, dz_columns, out, with_bias ? db_sums + first_filter : nullptr, Store{});
}
