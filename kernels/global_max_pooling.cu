// Global max-pooling: the maximum of each channel of an image, and its gradient, which equal maxima share.
//
// Math:     y[n, c] = max over p of x[n, p, c];  count[n, c] = the number of p where x[n, p, c] = y[n, c]
//           dx[n, p, c] = dy[n, c] / count[n, c] where x[n, p, c] = y[n, c], else 0
// Layout:   x, dx (images, pixels, channels); y, dy, count (images, channels)
// Launch:   global_max_pooling: a block of THREADS takes `lanes` neighbouring channels, a power of two, of one image; its
//           threads are (lane of pixels, channel). Blocks are numbered (image, block of channels)
//           global_max_pooling_gradient: one thread per element of dx; an image takes `blocks` blocks of THREADS
// Memory:   x is read once, dx written once; neighbouring threads touch neighbouring channels
// Edges:    any number of images; an image has less than 2^30 elements, at least one. A NaN is greater than any number,
//           and equal to a NaN
// Numerics: exact but for the division; of zeros with both signs the maximum is +0, whichever comes first
// Cost:     one comparison per element
#include "common.cuh"

// The greatest of some numbers, and how many of them are that.
struct Maximum {
    REAL best;
    int count;

    __device__ inline void meet(REAL value, int times) {
        if (times == 0) return;
        const bool was_number = best == best, is_number = value == value;
        if (was_number && (!is_number || value > best)) {
            best = value;
            count = times;
        } else if (was_number == is_number && (!is_number || value == best)) {
            count += times;
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    global_max_pooling(const REAL* __restrict__ x, REAL* __restrict__ y, int* __restrict__ count, Index pixels,
                       Index channels, Index lanes) {
    __shared__ REAL best_of[THREADS];
    __shared__ int count_of[THREADS];
    const Index channel_blocks = ceil_div(channels, lanes), image = blockIdx.x / channel_blocks;
    const int width = static_cast<int>(lanes), height = THREADS / width;
    const int lane = threadIdx.x / width, place = threadIdx.x - lane * width;
    const Index channel = (blockIdx.x - image * channel_blocks) * lanes + place;
    Maximum maximum = {channel < channels ? x[image * pixels * channels + channel] : REAL(0), 0};
    for (Index pixel = lane; pixel < pixels && channel < channels; pixel += height) {
        maximum.meet(x[(image * pixels + pixel) * channels + channel], 1);
    }
    for (int half = height / 2; half > 0; half /= 2) {
        best_of[threadIdx.x] = maximum.best;
        count_of[threadIdx.x] = maximum.count;
        __syncthreads();
        if (lane < half) {
            const int other = threadIdx.x + half * width;
            maximum.meet(best_of[other], count_of[other]);
        }
        __syncthreads();
    }
    if (lane > 0 || channel >= channels) return;
    y[image * channels + channel] = maximum.best + 0;
    count[image * channels + channel] = maximum.count;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    global_max_pooling_gradient(const REAL* __restrict__ x, const REAL* __restrict__ y, const REAL* __restrict__ dy,
                                const int* __restrict__ count, REAL* __restrict__ dx, Index pixels, Index channels,
                                Index blocks) {
    const Index image = blockIdx.x / blocks;
    const int i = static_cast<int>(blockIdx.x - image * blocks) * THREADS + threadIdx.x;
    if (i >= pixels * channels) return;
    const Index number = image * channels + i % static_cast<int>(channels), place = image * pixels * channels + i;
    const REAL value = x[place], best = y[number];
    const bool is_maximum = value == best || (value != value && best != best);
    dx[place] = is_maximum ? dy[number] / static_cast<REAL>(count[number]) : REAL(0);
}
