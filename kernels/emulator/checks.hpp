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

static const Checks* checks;

// Forget who touched shared memory, before a block.
static void forget_shared() {
    memset(checks->static_cells, 0, sizeof(Cell) * (launch->static_end - launch->static_begin));
    memset(checks->dynamic_cells, 0, sizeof(Cell) * launch->dynamic_bytes);
}

// One access as it is about to happen.
struct Touch {
    const unsigned char* address;
    size_t bytes;
    bool write;
    unsigned code; // the instruction, as distance from the beginning of the library; Python turns "@code@" into file:line
};

// A kind of memory: an array among the arguments, or (if that is null) shared memory.
struct Place {
    const ArrayArgument* array;
    long long offset; // bytes, in the array or in shared memory
    bool dynamic;     // shared memory
};

static long long floor_divide(long long a, long long b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// "element 5 of argument 1 (const float*, 10 elements)"
static void describe(const Place& place, char* text, size_t size) {
    if (place.array) {
        const long long item = place.array->item_bytes;
        snprintf(text, size, "element %lld of argument %u (%s, %lld elements)", floor_divide(place.offset, item),
                 place.array->number, place.array->type, static_cast<long long>(place.array->bytes) / item);
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

[[noreturn]] static void report_out_of_bounds(const Touch& touch, const Place& place) {
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

static void check_shared(const Touch& touch, const Place& place, Cell* cells) {
    for (size_t byte = 0; byte < touch.bytes && !touch.write; ++byte) {
        if (cells[byte].writer.block != 0) continue;
        char text[200];
        describe(place, text, sizeof text);
        report("uninitialised read at @%u@: nothing in this block has written %s so far; is a __syncthreads missing?", touch.code, text);
    }
    check_cells(cells, touch.bytes, touch, place);
}

static bool is_unwritten(const unsigned char* item, unsigned bytes) {
    return bytes == 4   ? memcmp(item, &UNWRITTEN_4, 4) == 0
           : bytes == 8 ? memcmp(item, &UNWRITTEN_8, 8) == 0
                        : false;
}

static void check_array(const Touch& touch, const Place& place) {
    const ArrayArgument& array = *place.array;
    char text[200];
    if (touch.write && !array.writable) {
        describe(place, text, sizeof text);
        report("write at @%u@ to a const array: %s", touch.code, text);
    }
    const size_t first = place.offset / array.item_bytes, last = (place.offset + touch.bytes - 1) / array.item_bytes;
    for (size_t item = first; item <= last && !touch.write; ++item) {
        if (!is_unwritten(array.begin + item * array.item_bytes, array.item_bytes)) continue;
        describe({place.array, static_cast<long long>(item * array.item_bytes), false}, text, sizeof text);
        report("uninitialised read at @%u@: nothing has written %s", touch.code, text);
    }
    if (!array.writable) return;
    const size_t begin = place.offset / array.granule, end = (place.offset + touch.bytes - 1) / array.granule + 1;
    check_cells(array.cells + begin, end - begin, touch, place);
}

// The array among the arguments that holds `address`, else the one that is nearest.
static Place find_array(const unsigned char* address) {
    Place best = {nullptr, 0, false};
    unsigned long long best_gap = ~0ull;
    for (const ArrayArgument* array = checks->arrays; array < checks->arrays + checks->array_count; ++array) {
        const long long offset = address - array->begin;
        const long long past = offset - static_cast<long long>(array->bytes) + 1;
        const unsigned long long gap = offset < 0 ? -offset : past > 0 ? past : 0;
        if (gap < best_gap) {
            best = {array, offset, false};
            best_gap = gap;
            if (gap == 0) break;
        }
    }
    return best;
}

static bool is_inside(const Touch& touch, const Place& place, unsigned long long bytes) {
    return place.offset >= 0 && place.offset + touch.bytes <= bytes;
}

static void check_static_shared(const Touch& touch) {
    const Place place = {nullptr, touch.address - shared_begin, false};
    for (const SharedArray* a = checks->shared; a < checks->shared + checks->shared_count; ++a) {
        if (place.offset >= a->begin && place.offset + touch.bytes <= a->end) {
            return check_shared(touch, place, checks->static_cells + place.offset - launch->static_begin);
        }
    }
    report_out_of_bounds(touch, place);
}

static void check_dynamic_shared(const Touch& touch) {
    const Place place = {nullptr, touch.address - dynamic_shared, true};
    if (!is_inside(touch, place, launch->dynamic_bytes)) report_out_of_bounds(touch, place);
    check_shared(touch, place, checks->dynamic_cells + place.offset);
}

static void check(const Touch& touch) {
    const auto lies_in = [&](const void* begin, size_t bytes) {
        return static_cast<size_t>(touch.address - static_cast<const unsigned char*>(begin)) < bytes;
    };
    if (lies_in(stacks, MOST_THREADS * STACK_BYTES)) return;
    if (lies_in(&threadIdx, sizeof threadIdx) || lies_in(&blockIdx, sizeof blockIdx)) return;
    if (lies_in(&blockDim, sizeof blockDim) || lies_in(&gridDim, sizeof gridDim)) return;
    const Place place = find_array(touch.address);
    if (place.array && is_inside(touch, place, place.array->bytes)) return check_array(touch, place);
    if (lies_in(dynamic_shared, sizeof dynamic_shared)) return check_dynamic_shared(touch);
    if (lies_in(library_begin, checks->read_only_bytes) && !touch.write) return; // a table of constants
    const size_t image = 1 << 20; // an address this near to the shared arrays was meant for them
    if (lies_in(shared_begin - image, 2 * image)) return check_static_shared(touch);
    if (lies_in(nullptr, 1 << 16)) {
        report("%s through a null pointer at @%u@", touch.write ? "write" : "read", touch.code);
    }
    if (!place.array) report("out-of-bounds access at @%u@: the kernel has no arrays", touch.code);
    report_out_of_bounds(touch, place);
}

} // namespace emulator
