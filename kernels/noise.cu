// Normal noise, added to an array or multiplied with it.
//
// Math:     z[i] = the standard normal number of draw(i), see normal.cuh; draw(i) as in dropout.cu
//           gaussian_noise: y[i] = x[i] + stddev z[i];  gaussian_dropout: factor[i] = 1 + stddev z[i],
//           y[i] = factor[i] x[i];  gaussian_dropout_gradient: dx[i] = factor[i] dy[i]
// Layout:   x, y, factor, dy, dx: n elements, whatever shape they have outside
//           counter (1) is the step where it is not null: a captured graph finds another one at every run
// Launch:   THREADS a block; one thread per block of Philox, which is 8 elements; the gradient one per element
// Memory:   2n or 3n elements moved; a thread's 8 elements are one sector of 32 bytes in float32
// Edges:    n >= 1, no multiple of anything
// Numerics: z is a float with the same bits on every device; a rounding for each operation after that
// Cost:     40 multiplications of 64 bits per 8 elements, some 30 operations an element
#include "common.cuh"
#include "normal.cuh"
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    gaussian_noise(const REAL* __restrict__ x, REAL* __restrict__ y, Index n, REAL stddev, Index seed, Index purpose,
                   const Index* __restrict__ counter, Index step) {
    const Index first = global_thread() * BLOCK_DRAWS;
    if (first >= n) return;
    Word words[BLOCK_WORDS];
    philox_block(global_thread(), counter != nullptr ? counter[0] : step, seed, purpose, words);
#pragma unroll
    for (int k = 0; k < BLOCK_DRAWS; ++k) {
        const Index i = first + k;
        if (i < n) y[i] = x[i] + stddev * static_cast<REAL>(normal_number(top_bits(words, k)));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gaussian_dropout(const REAL* __restrict__ x, REAL* __restrict__ y, REAL* __restrict__ factor, Index n, REAL stddev,
                     Index seed, Index purpose, const Index* __restrict__ counter, Index step) {
    const Index first = global_thread() * BLOCK_DRAWS;
    if (first >= n) return;
    Word words[BLOCK_WORDS];
    philox_block(global_thread(), counter != nullptr ? counter[0] : step, seed, purpose, words);
#pragma unroll
    for (int k = 0; k < BLOCK_DRAWS; ++k) {
        const Index i = first + k;
        if (i < n) {
            const REAL drawn = 1 + stddev * static_cast<REAL>(normal_number(top_bits(words, k)));
            factor[i] = drawn;
            y[i] = drawn * x[i];
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gaussian_dropout_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ factor, REAL* __restrict__ dx,
                              Index n) {
    const Index i = global_thread();
    if (i < n) dx[i] = factor[i] * dy[i];
}
