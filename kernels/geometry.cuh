// Sizes of a convolution, as launches give them and as kernels count with them: in ints, within the bounds that
// windows.cuh and direct.cuh name.
#include "common.cuh"

struct Geometry {
    int height, width, channels;         // of x
    int out_height, out_width, filters;  // of y
    int kernel_height, kernel_width, stride_h, stride_w, dilation_h, dilation_w;
    int top, left;                      // padding
    int group_channels, group_filters;  // channels and filters of one group

    __device__ inline int taps() const { return kernel_height * kernel_width * group_channels; }
};

// They as kernels take them; integers of the launch are Index.
#define GEOMETRY                                                                                              \
    Index height, Index width, Index channels, Index out_height, Index out_width, Index filters,              \
        Index kernel_height, Index kernel_width, Index stride_h, Index stride_w, Index dilation_h,            \
        Index dilation_w, Index top, Index left, Index groups

#define GEOMETRY_IN_INTS                                                                                      \
    {                                                                                                         \
        int(height), int(width), int(channels), int(out_height), int(out_width), int(filters),                \
            int(kernel_height), int(kernel_width), int(stride_h), int(stride_w), int(dilation_h),             \
            int(dilation_w), int(top), int(left), int(channels / groups), int(filters / groups)               \
    }

// A coordinate that leaves the image whatever is added to it.
constexpr int OUTSIDE = -(1 << 30);

// Number of the first tap along an axis under which a window can have the pixel that lies `distance` behind the
// beginning of window 0; `taps` if there is none.
__device__ inline int first_tap(int distance, int stride, int dilation, int taps) {
    int tap = 0;
    while (tap < taps && (distance - tap * dilation) % stride != 0) ++tap;
    return tap;
}

// A 64-bit division takes four times as long as a 32-bit one, and numbers are seldom that large.
__device__ inline Index quotient(Index a, int b) { return a <= 0x7fffffff ? int(a) / b : a / b; }
