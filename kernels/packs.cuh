// Neighbouring elements that move as one: 16 bytes at most, the widest access to memory. A larger pack, which a thread
// holds, moves in parts.
#include "common.cuh"

template <int COUNT, class T = REAL>
struct alignas(COUNT * sizeof(T) < 16 ? COUNT * sizeof(T) : 16) Pack {
    T value[COUNT];
};
template <int COUNT, class T>
__device__ inline Pack<COUNT, T> read_pack(const T* source) {
    return *reinterpret_cast<const Pack<COUNT, T>*>(source);
}
