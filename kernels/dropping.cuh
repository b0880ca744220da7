// Dropout where a matrix product ends, after ReLU: what dropout.cu does, without a kernel or a mask of its own. A
// dropped element is 0, and ReLU's gradient is 0 there as it is: the output alone tells what was kept.
//
// DROPS, 1 or 0, comes from the launch: whether there is a dropout.
#include "activation.cuh"
#include "common.cuh"
#include "philox.cuh"

struct Dropping {
    Index threshold;  // 2^24 rate
    REAL factor;      // 1 / (1 - rate)
    Index seed, purpose;
    const Index* counter;  // the step, in device memory; null if it is `step`
    Index step;

    // Drop some of `count` neighbouring elements, or scale them; the first is number `first` of the output.
    template <int COUNT>
    __device__ inline void apply(REAL (&values)[COUNT], Index first) const {
        if constexpr (DROPS) {
            const Index draws = counter != nullptr ? counter[0] : step;
            Word words[BLOCK_WORDS];
#pragma unroll
            for (int e = 0; e < COUNT; ++e) {
                const Index i = first + e;
                const int place = static_cast<int>(i % BLOCK_DRAWS);
                if (e == 0 || place == 0) philox_block(i / BLOCK_DRAWS, draws, seed, purpose, words);
                values[e] = bits_at(words, place) >= threshold ? factor * values[e] : REAL(0);
            }
        }
    }
};

// dz = scale dy f'(z), where scale is 1 but for dropping: the gradient before f and the dropout behind it.
__device__ inline REAL gradient_before(REAL dy, REAL saved, REAL scale) {
    return activation_gradient(DROPS ? scale * dy : dy, saved);
}

// What every kernel that can drop takes, and how it hands it on.
#define DROPPING Index threshold, REAL factor, Index seed, Index purpose, const Index *__restrict__ counter, Index step
#define THIS_DROPPING {threshold, factor, seed, purpose, counter, step}
