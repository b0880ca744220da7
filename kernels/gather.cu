// Gather: the samples of one batch, by index, from a set that stays on the device.
//
// Math:     out[i, j] = DECODE(source[order[position + i], j]) as TARGET;  then position += moved_by
// Layout:   source (n, row_size) of STORED; order (m) and position (1) in device memory, so that a captured graph takes
//           another batch at every replay; out (rows, row_size) of TARGET
// Launch:   a block of blockDim.y rows; its columns, and the grid's y, share a row out among them. Only a grid of one
//           block can move the position on: other blocks might not have read it yet
// Memory:   each row read and written once; neighbouring threads touch neighbouring elements
// Edges:    rows, row_size >= 1; the host vouches for position + rows <= m and for every index being in [0, n)
// Numerics: C's conversions, which are NumPy's: one rounding to nearest, fractions cut off towards an integer
// Cost:     one conversion per element
#include "common.cuh"

using int8 = signed char;
using int16 = short;
using int32 = int;
using int64 = long long;
using uint8 = unsigned char;
using uint16 = unsigned short;
using uint32 = unsigned int;
using uint64 = unsigned long long;
using float32 = float;
using float64 = double;

__device__ inline STORED as_stored(STORED value) { return value; }

// The value of IEEE's binary16 with these bits: sign 1, exponent 5 (bias 15), fraction 10.
__device__ inline float32 from_half(uint16 bits) {
    const uint32 exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
    union {
        uint32 bits;
        float32 value;
    } word;
    if (exponent == 0) {
        word.value = static_cast<float32>(fraction) * (1.0f / (1 << 24));  // zero, or without a leading 1; exact
    } else {
        const uint32 wide = exponent == 31 ? 255u : exponent + 112u;  // infinity and NaN stay; else the bias is 127
        word.bits = wide << 23 | fraction << 13;
    }
    word.bits |= static_cast<uint32>(bits >> 15) << 31;
    return word.value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gather(const STORED* __restrict__ source, const Index* __restrict__ order, Index* __restrict__ position,
           TARGET* __restrict__ out, Index rows, Index row_size, Index moved_by) {
    const Index first = position[0];
    const Index i = static_cast<Index>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (i < rows) {
        source += order[first + i] * row_size;
        out += i * row_size;
        const Index step = static_cast<Index>(gridDim.y) * blockDim.x;
        for (Index j = static_cast<Index>(blockIdx.y) * blockDim.x + threadIdx.x; j < row_size; j += step) {
            out[j] = static_cast<TARGET>(DECODE(source[j]));
        }
    }
    if (moved_by == 0) return;
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) position[0] = first + moved_by;
}
