// The mask of a dropout in which one draw holds for whole axes.
//
// Math:     mask[p, a, q, b, s] = draw(a K1 + b) >= threshold;  draw and threshold as in dropout.cu
// Layout:   mask (R0, K0, R1, K1, R2), n elements: the draws differ along the kept axes K0 and K1 alone. Any choice of
//           axes of an array of up to four axes has this form. counter (1) is the step where it is not null
// Launch:   one thread per element
// Memory:   n bytes written
// Edges:    n >= 1; threads past n do nothing
// Numerics: exact
// Cost:     40 multiplications of 64 bits and four divisions per element
#include "common.cuh"
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    noise_mask(unsigned char* __restrict__ mask, Index n, Index k0, Index r1, Index k1, Index r2, Index threshold,
               Index seed, Index purpose, const Index* __restrict__ counter, Index step) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index draw = i / (r2 * k1 * r1) % k0 * k1 + i / r2 % k1;
    Word words[BLOCK_WORDS];
    philox_block(draw / BLOCK_DRAWS, counter != nullptr ? counter[0] : step, seed, purpose, words);
    mask[i] = bits_at(words, static_cast<int>(draw % BLOCK_DRAWS)) >= threshold ? 1 : 0;
}
