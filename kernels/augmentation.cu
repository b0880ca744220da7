// Augmentation: random matrices, one for each image, by which affine.cu then moves it.
//
// Math:     with u0, u1 uniform in [0, 1), between(u, low, high) = low + (high - low) u, and centre ((W-1)/2, (H-1)/2):
//           KIND 0, flips: scale_x = low_w and scale_y = low_h where u0 <= 1/2, else 1 (low -1: this axis is flipped)
//           1, crops: shift = floor(between(u0, 0, high_h)), floor(between(u1, 0, high_w)), the same for all images
//           2, translations: shift = -H between(u0, low_h, high_h), -W between(u1, low_w, high_w)
//           3, rotations by between(u0, low_h, high_h) turns;  4, zooms: scale_y = between(u0, low_h, high_h) and
//           scale_x = between(u1, low_w, high_w), u1 being u0 where `together`
//           a0 = cos scale_x, a1 = -sin, a2 = ((shift_x + cx) - cx a0) - cy a1;  b0 = sin, b1 = cos scale_y, b2 alike
// Layout:   matrices (n, 6) of TARGET: a0 a1 a2 b0 b1 b2. u0 of image i is draw i, u1 is draw n + i, for crops 0 and 1;
//           draw k is the k-th float32 that NumPy draws from Philox(key=[seed, purpose], counter=[0, 0, 0, step]);
//           counter (1) is the step where it is not null: a captured graph finds another one at every run
// Launch:   one thread per image
// Memory:   6 n numbers written
// Edges:    n >= 1; threads past n do nothing
// Numerics: in double, REAL, every operation rounded by itself, as the CPU version does; then once to TARGET. Sine and
//           cosine are polynomials, of angles up to an eighth of a turn: as exact as double, and the same everywhere
// Cost:     two blocks of Philox and 60 operations per image
#include "common.cuh"
#include "philox.cuh"

__device__ inline REAL uniform(Index draw, Index step, Index seed, Index purpose) {
    Word words[BLOCK_WORDS];
    philox_block(draw / BLOCK_DRAWS, step, seed, purpose, words);
    return static_cast<REAL>(bits_at(words, static_cast<int>(draw % BLOCK_DRAWS))) * (REAL(1) / (1 << 24));
}

__device__ inline REAL between(REAL u, REAL low, REAL high) { return low + (high - low) * u; }

// The whole number below x, for |x| < 2^62.
__device__ inline Index whole(REAL x) {
    const Index cut = static_cast<Index>(x);
    return static_cast<REAL>(cut) > x ? cut - 1 : cut;
}

// Taylor's polynomials (in the square of the angle), whose rest is below half a rounding up to an eighth of a turn.
__device__ inline REAL polynomial(REAL square, const REAL* coefficients) {
    REAL sum = coefficients[0];
#pragma unroll
    for (int k = 1; k < 9; ++k) sum = sum * square + coefficients[k];
    return sum;
}

// cos and sin of `turns` whole turns: of the angle from the next quarter of a turn, then turned by that.
__device__ inline void turned(REAL turns, REAL& cosine, REAL& sine) {
    const REAL sines[] = {SINES}, cosines[] = {COSINES};
    const Index quarter = whole(REAL(4) * turns + REAL(0.5));
    const REAL angle = (REAL(4) * turns - static_cast<REAL>(quarter)) * REAL(HALF_PI), square = angle * angle;
    const REAL s = angle * polynomial(square, sines), c = polynomial(square, cosines);
    const Index turn = quarter & 3;
    cosine = turn == 0 ? c : turn == 1 ? -s : turn == 2 ? -c : s;
    sine = turn == 0 ? s : turn == 1 ? c : turn == 2 ? -s : -c;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    random_matrices(TARGET* __restrict__ matrices, Index n, Index kind, Index H, Index W, REAL low_h, REAL high_h,
                    REAL low_w, REAL high_w, Index together, Index seed, Index purpose,
                    const Index* __restrict__ counter, Index step) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index draws = counter != nullptr ? counter[0] : step;
    const bool is_crop = kind == 1;
    const REAL u0 = uniform(is_crop ? 0 : i, draws, seed, purpose);
    const REAL u1 = together ? u0 : uniform(is_crop ? 1 : n + i, draws, seed, purpose);
    REAL cosine = 1, sine = 0, scale_x = 1, scale_y = 1, shift_x = 0, shift_y = 0;
    if (kind == 0) {
        const bool flips = u0 <= REAL(0.5);
        scale_x = flips ? low_w : REAL(1);
        scale_y = flips ? low_h : REAL(1);
    } else if (kind == 1) {
        shift_x = static_cast<REAL>(whole(between(u1, 0, high_w)));
        shift_y = static_cast<REAL>(whole(between(u0, 0, high_h)));
    } else if (kind == 2) {
        shift_x = -(between(u1, low_w, high_w) * static_cast<REAL>(W));
        shift_y = -(between(u0, low_h, high_h) * static_cast<REAL>(H));
    } else if (kind == 3) {
        turned(between(u0, low_h, high_h), cosine, sine);
    } else {
        scale_x = between(u1, low_w, high_w);
        scale_y = between(u0, low_h, high_h);
    }
    const REAL cx = static_cast<REAL>(W - 1) / 2, cy = static_cast<REAL>(H - 1) / 2;
    const REAL a0 = cosine * scale_x, b1 = cosine * scale_y;
    TARGET* m = matrices + i * 6;
    m[0] = static_cast<TARGET>(a0);
    m[1] = static_cast<TARGET>(-sine);
    m[2] = static_cast<TARGET>(((shift_x + cx) - cx * a0) + cy * sine);
    m[3] = static_cast<TARGET>(sine);
    m[4] = static_cast<TARGET>(b1);
    m[5] = static_cast<TARGET>(((shift_y + cy) - cx * sine) - cy * b1);
}
