// The checked mode: every access to memory of every thread is looked at before it happens.
//
// The kernel is compiled with -fsanitize=thread, which makes the compiler put a call before each load and store
// (__tsan_read4 and so on), but it is linked without that sanitizer's library: the calls come here (callbacks.hpp).
// An address belongs to the stacks (not looked at), to shared memory, or to an array among the arguments; all else is
// out of bounds.
#pragma once
#include "races.hpp"

namespace emulator {

// Memory of arrays that nothing has written, by item size: the bits of emulated_array.py.
constexpr uint32_t UNWRITTEN_4 = 0x7FC5A5A5;
constexpr uint64_t UNWRITTEN_8 = 0x7FF8A5A5A5A5A5A5;

static Checks* checks;

// One access as it is about to happen.
struct Touch {
    const unsigned char* address;
    size_t bytes;
    bool write;
    unsigned code; // the instruction, from the beginning of the library; Python turns "@code@" into file:line
};

// A kind of memory: an array among the arguments, or (if that is null) shared memory.
struct Place {
    const ArrayArgument* array;
    long long offset; // bytes, in the array or in shared memory
    bool dynamic;     // shared memory
};

// "element 5 of argument 1 (const float*, 10 elements)"
static void describe(const Place& place, char* text, size_t size) {
    if (place.array) {
        const ArrayArgument& array = *place.array;
        snprintf(text, size, "element %lld of argument %u (%s, %llu elements)", place.offset >> array.item_shift,
                 array.number, array.type, array.bytes >> array.item_shift);
    } else if (place.dynamic) {
        snprintf(text, size, "byte %lld of dynamic shared memory (%u bytes)", place.offset, launch->dynamic_bytes);
    } else {
        const SharedArray* nearest = nullptr;
        for (const SharedArray* a = checks->shared; a < checks->shared + checks->shared_count; ++a) {
            if (!nearest || place.offset >= a->begin) nearest = a;
        }
        if (!nearest) {
            snprintf(text, size, "shared memory that no array of this kernel occupies");
            return;
        }
        snprintf(text, size, "byte %lld of shared array `%s` (%u bytes)", place.offset - nearest->begin, nearest->name,
                 nearest->end - nearest->begin);
    }
}

// `end` is where the memory ends; the report names the first byte that is not in it.
[[noreturn]] static void report_out_of_bounds(const Touch& touch, Place place, long long end) {
    if (place.offset >= 0 && place.offset < end) place.offset = end;
    char text[200];
    describe(place, text, sizeof text);
    report("out-of-bounds %s of %zu bytes at @%u@: %s", touch.write ? "write" : "read", touch.bytes, touch.code, text);
}

[[noreturn]] static void report_race(const Cell& cell, const Access& other, const Touch& touch, const Place& place) {
    char text[200];
    describe(place, text, sizeof text);
    const uint3 thread = threads[other.thread].index;
    const unsigned block = other.block - 1;
    const bool other_block = distance(other, access_now(0)) == 2;
    report("race: %s %s at @%u@; thread (%u, %u, %u) of block (%u, %u, %u) has %s it at @%u@, and %s",
           touch.write ? "writes" : "reads", text, touch.code, thread.x, thread.y, thread.z, block % gridDim.x,
           block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y, &other == &cell.writer ? "written" : "read",
           other.code, other_block ? "blocks run in any order" : "there is no __syncthreads between");
}

static void check_cells(Cell* cells, size_t count, const Touch& touch, const Place& place) {
    const Access now = access_now(touch.code);
    for (Cell* cell = cells; cell < cells + count; ++cell) {
        const Access* const other = find_race(*cell, now, touch.write);
        if (other) report_race(*cell, *other, touch, place);
        remember(*cell, now, touch.write);
    }
}

// Shared memory of the block: its cells stand for 4 bytes each, or for one byte in a kernel that was seen to touch less
// than 4 bytes at a time (Python then runs it again).
static void check_shared(const Touch& touch, const Place& place, Cell* cells, size_t offset) {
    const unsigned shift = checks->shared_shift;
    if (((touch.bytes | offset) & ((1u << shift) - 1)) != 0) {
        checks->needs_bytes = 1;
        abandon();
    }
    cells += offset >> shift;
    const size_t count = touch.bytes >> shift;
    for (size_t i = 0; i < count && !touch.write; ++i) {
        if (cells[i].writer.block != 0) continue;
        char text[200];
        describe(place, text, sizeof text);
        report("uninitialised read at @%u@: nothing in this block has written %s so far; is a __syncthreads missing?",
               touch.code, text);
    }
    check_cells(cells, count, touch, place);
}

static bool is_inside(const Touch& touch, long long offset, unsigned long long bytes) {
    return offset >= 0 && offset + touch.bytes <= bytes;
}

static void check_static_shared(const Touch& touch) {
    const Place place = {nullptr, touch.address - shared_begin, false};
    for (const SharedArray* a = checks->shared; a < checks->shared + checks->shared_count; ++a) {
        if (is_inside(touch, place.offset - a->begin, a->end - a->begin)) {
            return check_shared(touch, place, checks->static_cells, place.offset);
        }
    }
    report_out_of_bounds(touch, place, 0);
}

static void check_dynamic_shared(const Touch& touch) {
    const Place place = {nullptr, touch.address - dynamic_shared, true};
    if (!is_inside(touch, place.offset, launch->dynamic_bytes)) {
        report_out_of_bounds(touch, place, launch->dynamic_bytes);
    }
    check_shared(touch, place, checks->dynamic_cells, place.offset);
}

static bool is_unwritten(const unsigned char* item, unsigned bytes) {
    return bytes == 4   ? memcmp(item, &UNWRITTEN_4, 4) == 0
           : bytes == 8 ? memcmp(item, &UNWRITTEN_8, 8) == 0
                        : false;
}

static void check_array(const Touch& touch, const ArrayArgument& array) {
    const Place place = {&array, touch.address - array.begin, false};
    if (!is_inside(touch, place.offset, array.bytes)) {
        report_out_of_bounds(touch, place, static_cast<long long>(array.bytes));
    }
    char text[200];
    if (touch.write && !array.writable) {
        describe(place, text, sizeof text);
        report("write at @%u@ to a const array: %s", touch.code, text);
    }
    const size_t first = static_cast<size_t>(place.offset), last = first + touch.bytes - 1;
    for (size_t item = first >> array.item_shift; item <= last >> array.item_shift && !touch.write; ++item) {
        if (!is_unwritten(array.begin + (item << array.item_shift), 1u << array.item_shift)) continue;
        describe({&array, static_cast<long long>(item << array.item_shift), false}, text, sizeof text);
        report("uninitialised read at @%u@: nothing has written %s", touch.code, text);
    }
    if (!array.writable) return;
    const size_t first_cell = first >> array.cell_shift, last_cell = last >> array.cell_shift;
    check_cells(array.cells + first_cell, last_cell - first_cell + 1, touch, place);
}

// An address that belongs to nothing: say what it is nearest to.
[[noreturn]] static void report_stray(const Touch& touch) {
    constexpr long long NEAR_SHARED = 1 << 20; // bytes; an address within them was meant for a shared array
    const long long offset = touch.address - shared_begin;
    if (-NEAR_SHARED < offset && offset < NEAR_SHARED) report_out_of_bounds(touch, {nullptr, offset, false}, 0);
    if (reinterpret_cast<size_t>(touch.address) < 1 << 16) {
        report("%s through a null pointer at @%u@", touch.write ? "write" : "read", touch.code);
    }
    const ArrayArgument* nearest = nullptr;
    unsigned long long smallest = ~0ull;
    for (const ArrayArgument* array = checks->arrays; array < checks->arrays + checks->array_count; ++array) {
        const long long before = array->begin - touch.address;
        const long long past = -before - static_cast<long long>(array->bytes) + 1;
        const unsigned long long gap = static_cast<unsigned long long>(before > 0 ? before : past);
        if (gap < smallest) {
            nearest = array;
            smallest = gap;
        }
    }
    if (!nearest) report("out-of-bounds access at @%u@: the kernel has no arrays", touch.code);
    report_out_of_bounds(touch, {nearest, touch.address - nearest->begin, false}, 0);
}

static bool is_on_stack(const Touch& touch) {
    return static_cast<size_t>(touch.address - static_cast<unsigned char*>(stacks)) < MOST_THREADS * STACK_BYTES;
}

static void check(const Touch& touch) {
    const auto lies_in = [&](const void* begin, size_t bytes) {
        return static_cast<size_t>(touch.address - static_cast<const unsigned char*>(begin)) < bytes;
    };
    if (is_on_stack(touch)) return;
    if (lies_in(shared_begin + launch->static_begin, launch->static_end - launch->static_begin)) {
        return check_static_shared(touch);
    }
    for (const ArrayArgument* array = checks->arrays; array < checks->arrays + checks->array_count; ++array) {
        if (lies_in(array->begin, array->bytes)) return check_array(touch, *array);
    }
    if (lies_in(dynamic_shared, sizeof dynamic_shared)) return check_dynamic_shared(touch);
    if (touch.write) report_stray(touch);
    // What a kernel may only read: its indices, and tables of constants.
    if (lies_in(&threadIdx, sizeof threadIdx) || lies_in(&blockIdx, sizeof blockIdx)) return;
    if (lies_in(&blockDim, sizeof blockDim) || lies_in(&gridDim, sizeof gridDim)) return;
    if (lies_in(library_begin, checks->read_only_bytes)) return;
    report_stray(touch);
}

// A load or store of 1, 2, 4, 8 or 16 bytes, of a type that has to be aligned. (The compiler moves structs of 8 and 8
// bytes on the stack by 16, wherever they lie.)
static void check_aligned(const Touch& touch) {
    if (is_on_stack(touch)) return;
    if ((reinterpret_cast<size_t>(touch.address) & (touch.bytes - 1)) != 0) {
        report("misaligned %s of %zu bytes at @%u@", touch.write ? "write" : "read", touch.bytes, touch.code);
    }
    check(touch);
}

// What lies at `address` if that is shared memory, static or dynamic; null else.
static Cell* shared_cells(const unsigned char* address) {
    const unsigned shift = checks->shared_shift;
    const size_t in_static = static_cast<size_t>(address - shared_begin);
    const size_t in_dynamic = static_cast<size_t>(address - dynamic_shared);
    if (launch->static_begin <= in_static && in_static < launch->static_end) {
        return checks->static_cells + (in_static >> shift);
    }
    return in_dynamic < sizeof dynamic_shared ? checks->dynamic_cells + (in_dynamic >> shift) : nullptr;
}

// An asynchronous copy begins. Its target is written now, as others may see it, but holds nothing until the copy ends.
static void check_beginning_copy(const Touch& source, const Touch& target) {
    if (source.address) {
        check_aligned(source);
        if (shared_cells(source.address)) report("asynchronous copy at @%u@ from shared memory", source.code);
    }
    check_aligned(target);
    Cell* const cells = shared_cells(target.address);
    if (!cells) report("asynchronous copy at @%u@ to what is not shared memory", target.code);
    memset(cells, 0, sizeof *cells * (target.bytes >> checks->shared_shift));
}

// Prepare for a block: shared memory is nobody's.
static void forget_shared() {
    const unsigned shift = checks->shared_shift;
    const size_t begin = launch->static_begin >> shift, end = (launch->static_end >> shift) + 1;
    memset(checks->static_cells + begin, 0, sizeof(Cell) * (end - begin));
    memset(checks->dynamic_cells, 0, sizeof(Cell) * ((launch->dynamic_bytes >> shift) + 1));
}

} // namespace emulator
