// Philox 4x64 with ten rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
//
// A counter of four 64-bit words and a key of two give a block of four random words; block i of a stream is a function
// of i alone, so that any thread can make any block. Words and order are those of numpy.random.Philox, which adds one
// to the counter before it makes a block, the first one included.
using Word = unsigned long long;

constexpr int BLOCK_WORDS = 4;
constexpr int BLOCK_DRAWS = 8;  // 32-bit draws of a block: the low half of a word first, then its high half

// Fill `words` with the block of counter (index + 1, 0, 0, step) under key (seed, purpose).
__device__ inline void philox_block(Word index, Word step, Word seed, Word purpose, Word* words) {
    Word c0 = index + 1, c1 = 0, c2 = 0, c3 = step;
    Word k0 = seed, k1 = purpose;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const Word high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0), low0 = 0xD2E7470EE14C6C93ull * c0;
        const Word high1 = __umul64hi(0xCA5A826395121157ull, c2), low1 = 0xCA5A826395121157ull * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15ull;  // golden ratio
        k1 += 0xBB67AE8584CAA73Bull;  // sqrt(3) - 1
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

// The top 24 bits of draw `i` of a block; NumPy's float32 uniform is this number times 2^-24.
__device__ inline int top_bits(const Word* words, int i) {
    const unsigned half = static_cast<unsigned>(words[i / 2] >> (32 * (i % 2)));
    return static_cast<int>(half >> 8);
}

// The same for a draw whose number the compiler does not know, without memory for the words.
__device__ inline int bits_at(const Word* words, int i) {
    const Word low = i < 2 ? words[0] : words[1], high = i < 6 ? words[2] : words[3];
    const Word word = i < 4 ? low : high;
    return static_cast<int>(static_cast<unsigned>(word >> (32 * (i % 2))) >> 8);
}
