// The calls that -fsanitize=thread and -fsanitize=undefined put into a kernel, answered by the checked mode.
#pragma once
#include "checks.hpp"

#define EMULATOR_CALLBACK extern "C" __attribute__((visibility("hidden")))

namespace emulator {
// The instruction before the one at `next`, where the call was.
static unsigned code_before(const void* next) {
    return static_cast<unsigned>(static_cast<const unsigned char*>(next) - library_begin) - 1;
}
} // namespace emulator

#define EMULATOR_CODE emulator::code_before(__builtin_return_address(0))
#define EMULATOR_ADDRESS(pointer) static_cast<const unsigned char*>(pointer)

// Loads and stores of 1 to 16 bytes, in all their variants.
#define EMULATOR_ACCESS(name, check, bytes, write) \
    EMULATOR_CALLBACK void __tsan_##name(void* p) {              \
        emulator::check({EMULATOR_ADDRESS(p), bytes, write, EMULATOR_CODE}); \
    }
#define EMULATOR_ACCESSES(bytes)                                 \
    EMULATOR_ACCESS(read##bytes, check_aligned, bytes, false)    \
    EMULATOR_ACCESS(write##bytes, check_aligned, bytes, true)    \
    EMULATOR_ACCESS(unaligned_read##bytes, check, bytes, false)  \
    EMULATOR_ACCESS(unaligned_write##bytes, check, bytes, true)  \
    EMULATOR_ACCESS(volatile_read##bytes, check, bytes, false)   \
    EMULATOR_ACCESS(volatile_write##bytes, check, bytes, true)
EMULATOR_ACCESSES(1)
EMULATOR_ACCESSES(2)
EMULATOR_ACCESSES(4)
EMULATOR_ACCESSES(8)
EMULATOR_ACCESSES(16)

EMULATOR_CALLBACK void __tsan_init() {}
EMULATOR_CALLBACK void __tsan_func_entry(void*) {}
EMULATOR_CALLBACK void __tsan_func_exit() {}
EMULATOR_CALLBACK void __tsan_read_range(void* p, size_t n) {
    if (n) emulator::check({EMULATOR_ADDRESS(p), n, false, EMULATOR_CODE});
}
EMULATOR_CALLBACK void __tsan_write_range(void* p, size_t n) {
    if (n) emulator::check({EMULATOR_ADDRESS(p), n, true, EMULATOR_CODE});
}
EMULATOR_CALLBACK void* __tsan_memset(void* p, int value, size_t n) {
    if (n) emulator::check({EMULATOR_ADDRESS(p), n, true, EMULATOR_CODE});
    return memset(p, value, n);
}
EMULATOR_CALLBACK void* __tsan_memcpy(void* p, const void* from, size_t n) {
    if (n) {
        emulator::check({EMULATOR_ADDRESS(from), n, false, EMULATOR_CODE});
        emulator::check({EMULATOR_ADDRESS(p), n, true, EMULATOR_CODE});
    }
    return memcpy(p, from, n);
}
EMULATOR_CALLBACK void* __tsan_memmove(void* p, const void* from, size_t n) {
    if (n) {
        emulator::check({EMULATOR_ADDRESS(from), n, false, EMULATOR_CODE});
        emulator::check({EMULATOR_ADDRESS(p), n, true, EMULATOR_CODE});
    }
    return memmove(p, from, n);
}

// Undefined behaviour: every handler gets a description that begins with the place in the source.
struct SourcePlace {
    const char* file;
    unsigned line, column;
};

struct TypeName {
    unsigned short kind, info; // of an integer: the lowest bit of info tells signed, the others log2 of its bits
    char name[1];
};

struct IndexDescription {
    SourcePlace place;
    const TypeName *array, *index;
};

EMULATOR_CALLBACK void __ubsan_handle_out_of_bounds(const IndexDescription* what, size_t bits) {
    const int unused = 64 - (1 << (what->index->info >> 1));
    const long long index = static_cast<long long>(static_cast<unsigned long long>(bits) << unused) >> unused;
    emulator::report("out-of-bounds index at %s:%u: %lld for %s", what->place.file, what->place.line, index,
                     what->array->name);
}

#define EMULATOR_UNDEFINED(name, what)                                                       \
    EMULATOR_CALLBACK void __ubsan_handle_##name(const SourcePlace* place, size_t, size_t) { \
        emulator::report("undefined behaviour at %s:%u: " what, place->file, place->line);   \
    }
EMULATOR_UNDEFINED(add_overflow, "signed integer overflow of +")
EMULATOR_UNDEFINED(sub_overflow, "signed integer overflow of -")
EMULATOR_UNDEFINED(mul_overflow, "signed integer overflow of *")
EMULATOR_UNDEFINED(negate_overflow, "signed integer overflow of unary -")
EMULATOR_UNDEFINED(divrem_overflow, "integer division by zero, or overflow of /")
EMULATOR_UNDEFINED(shift_out_of_bounds, "shift by too many bits, or of a negative number")
EMULATOR_UNDEFINED(float_cast_overflow, "a float out of the integer's range converted to it")
EMULATOR_UNDEFINED(load_invalid_value, "a bool that is neither 0 nor 1")
EMULATOR_UNDEFINED(builtin_unreachable, "unreachable code reached")
EMULATOR_UNDEFINED(missing_return, "a function ends without its value")
