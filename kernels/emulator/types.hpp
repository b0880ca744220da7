// Names shared by what a kernel sees (emulator.hpp) and by what runs it (runtime.cpp).
#pragma once

struct uint3 {
    unsigned x, y, z;
};
using dim3 = uint3;

namespace emulator {

constexpr unsigned WARP = 32;                        // lanes
constexpr unsigned MOST_THREADS = 1024;              // of a block
constexpr unsigned MOST_DYNAMIC_SHARED = 227 * 1024; // bytes

using Bits = unsigned long long; // the value of one lane, whatever its type

enum class Collective : int { SYNC, SHUFFLE, BALLOT };

// Where a thread waits, for messages and to tell two barriers from each other.
struct Location {
    const char* file;
    int line;
};

} // namespace emulator
