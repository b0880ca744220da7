// The words of ptx.cuh on the emulator; copies.hpp does the work.
#pragma once

namespace emulator {
void begin_copy(void* target, const void* source, unsigned bytes, const void* next);
void close_group();
void finish_copies(unsigned newest);
} // namespace emulator

// Never inlined: a report names the line behind the return address.
template <class T>
__attribute__((noinline)) void copy_async(T* target, const T* source, bool reads) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16, "sizes that can be copied");
    emulator::begin_copy(target, reads ? source : nullptr, sizeof(T), __builtin_return_address(0));
}
inline void keep_order() {}
inline void close_copies() { emulator::close_group(); }
template <int NEWEST>
inline void wait_for_copies() {
    emulator::finish_copies(NEWEST);
}
