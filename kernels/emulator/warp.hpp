// Warp collectives as a kernel sees them. The lanes meet in collectives.hpp, which hands each its result.
#pragma once

namespace emulator {

template <class T>
inline Bits to_bits(T value) {
    static_assert(sizeof(T) <= sizeof(Bits), "a lane exchanges at most 8 bytes");
    Bits bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
inline T from_bits(Bits bits) {
    T value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % WARP;
}

// The lane from which each kind of shuffle reads; its own where the source would leave the segment of `width` lanes.
inline unsigned lane_below(unsigned delta, unsigned width) {
    return lane() % width >= delta ? lane() - delta : lane();
}
inline unsigned lane_above(unsigned delta, unsigned width) {
    return lane() % width + delta < width ? lane() + delta : lane();
}
inline unsigned lane_across(unsigned bits, unsigned width) {
    const unsigned source = lane() ^ bits;
    return source < (lane() / width + 1) * width ? source : lane();
}
inline unsigned lane_number(unsigned number, unsigned width) { return lane() / width * width + number % width; }

template <class T>
inline T shuffle(unsigned mask, T value, unsigned source_lane, Location where) {
    return from_bits<T>(meet(Collective::SHUFFLE, mask, to_bits(value), source_lane, where));
}

} // namespace emulator

template <class T>
inline T __shfl_sync(unsigned mask, T value, unsigned number, unsigned width = 32, EMULATOR_WHERE) {
    return emulator::shuffle(mask, value, emulator::lane_number(number, width), where);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, unsigned width = 32, EMULATOR_WHERE) {
    return emulator::shuffle(mask, value, emulator::lane_below(delta, width), where);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, unsigned width = 32, EMULATOR_WHERE) {
    return emulator::shuffle(mask, value, emulator::lane_above(delta, width), where);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, unsigned bits, unsigned width = 32, EMULATOR_WHERE) {
    return emulator::shuffle(mask, value, emulator::lane_across(bits, width), where);
}
inline unsigned __ballot_sync(unsigned mask, bool vote, EMULATOR_WHERE) {
    return static_cast<unsigned>(emulator::meet(emulator::Collective::BALLOT, mask, vote, 0, where));
}
inline int __any_sync(unsigned mask, bool vote, EMULATOR_WHERE) {
    return emulator::meet(emulator::Collective::BALLOT, mask, vote, 0, where) != 0;
}
inline int __all_sync(unsigned mask, bool vote, EMULATOR_WHERE) {
    return emulator::meet(emulator::Collective::BALLOT, mask, !vote, 0, where) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_WHERE) {
    emulator::meet(emulator::Collective::SYNC, mask, 0, 0, where);
}
