// Dropout: a random share of the elements becomes zero, the rest grows so that the expected value stays.
//
// Math:     mask[i] = draw(i) >= threshold;  y[i] = mask[i] factor x[i];  gradient: dx[i] = mask[i] factor dy[i]
//           draw(i) = 2^24 u(i), u(i) the i-th float32 that NumPy draws from Philox(key=[seed, purpose],
//           counter=[0, 0, 0, step]); threshold = 2^24 rate, factor = 1 / (1 - rate)
// Layout:   x, y, mask: n elements, whatever shape they have outside
//           counter (1) is the step where it is not null: a captured graph finds another one at every run
// Launch:   THREADS a block; dropout one thread per block of Philox, which is 8 elements; the gradient one per element
// Memory:   2n REAL and n bytes moved; a thread's 8 elements are one sector of 32 bytes in float32
// Edges:    n >= 1, no multiple of anything; a dropped element gives 0 whatever x is, NaN and infinity included
// Numerics: the mask is exact, one rounding in y
// Cost:     40 multiplications of 64 bits per 8 elements
#include "common.cuh"
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    dropout(const REAL* __restrict__ x, REAL* __restrict__ y, unsigned char* __restrict__ mask, Index n,
            Index threshold, REAL factor, Index seed, Index purpose, const Index* __restrict__ counter, Index step) {
    const Index first = global_thread() * BLOCK_DRAWS;
    if (first >= n) return;
    Word words[BLOCK_WORDS];
    philox_block(global_thread(), counter != nullptr ? counter[0] : step, seed, purpose, words);
#pragma unroll
    for (int k = 0; k < BLOCK_DRAWS; ++k) {
        const Index i = first + k;
        if (i < n) {
            const bool kept = top_bits(words, k) >= threshold;
            mask[i] = kept;
            y[i] = kept ? factor * x[i] : 0;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    dropout_gradient(const REAL* __restrict__ dy, const unsigned char* __restrict__ mask, REAL* __restrict__ dx,
                     Index n, REAL factor) {
    const Index i = global_thread();
    if (i < n) dx[i] = mask[i] ? factor * dy[i] : 0;
}
