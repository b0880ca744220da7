// Transposed convolution, the data gradient of a convolution as a layer of its own, with bias and activation.
//
// Math:     z[n,h,w,c] = b[c] + sum over r,s,f of x[n,p,q,f] w[r,s,c,f], over those (r,s) for which window (p,q) of
//               the convolution that is transposed has pixel (h,w) under its tap (r,s), h = p stride_h + r dilation_h -
//               top, and w likewise;  y = f(z), of which dropping.cuh may drop elements; saved = z where f' needs it
// Layout:   y, saved (images, height, width, channels), the image of that convolution; x (images, out_height,
//           out_width, filters), its output; w (kernel_height, kernel_width, channels, filters); b (channels).
//           `partial` is the workspace of a split sum, one output per split; null if there is one split only, and y
//           and saved are null else
// Launch:   as convolution_input_gradient of convolution.cu, in one group
// Memory:   tiles go through shared memory; what windows share is read from the caches
// Edges:    any size >= 1, any stride, dilation and (asymmetric) padding; pixels that lie in no window are f(b)
// Numerics: fma in chunks of CHUNK (gemm.cuh); splits are added in order by finish.cu: the same bits at every run
// Cost:     2 images out_height out_width kernel_height kernel_width channels filters flop, of which those in the
//           padding are done too; at least 4 (size of x + size of w + size of y) bytes for float
#include "phases.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution_transposed(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                           REAL* __restrict__ y, REAL* __restrict__ saved, REAL* __restrict__ partial, Index images,
                           GEOMETRY, DROPPING) {
    __shared__ Tiles tiles;
    __shared__ Rows rows;
    const Geometry g = with_known_strides(GEOMETRY_IN_INTS);
    const Spacing by{out_height * out_width * filters, out_width * filters, filters};
    const bool is_split = partial != nullptr;
    REAL* const sums = is_split ? partial + blockIdx.z * images * height * width * channels : y;
    const BiasActivation epilogue{b, saved, is_split, THIS_DROPPING};
    input_gradient(tiles, rows, AtOffset<Plain>{{x}}, by, w, g, images, sums, epilogue);
}
