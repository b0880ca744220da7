// The part of the emulator that is compiled once and linked to every kernel file; in the checked mode with the checks.
#include "collectives.hpp"

namespace emulator {

#pragma GCC visibility push(hidden)
alignas(128) unsigned char dynamic_shared[MOST_DYNAMIC_SHARED];
// The section of shared arrays: weak, because a file may have none.
extern unsigned char shared_begin[] __asm__(EMULATOR_SHARED_BEGIN) __attribute__((weak));
extern unsigned char shared_end[] __asm__(EMULATOR_SHARED_END) __attribute__((weak));
extern unsigned char library_begin[] __asm__(EMULATOR_LIBRARY_BEGIN);
#pragma GCC visibility pop

// A quiet NaN as float; two of them are one as double.
constexpr uint32_t UNWRITTEN_SHARED = 0x7FFA5A5A;

static void fill_with_nan(unsigned char* memory, size_t bytes) {
    for (size_t i = 0; i + sizeof UNWRITTEN_SHARED <= bytes; i += sizeof UNWRITTEN_SHARED) {
        memcpy(memory + i, &UNWRITTEN_SHARED, sizeof UNWRITTEN_SHARED);
    }
}

} // namespace emulator

#ifdef EMULATOR_CHECKED
#include "callbacks.hpp"
#endif
#include "copies.hpp"

using namespace emulator;

EMULATOR_EXPORT void* emulator_map_stacks() { return map_stacks(); }

// The sizes of the structs that Python lays out, for it to compare.
EMULATOR_EXPORT unsigned emulator_struct_bytes(unsigned number) {
    constexpr unsigned BYTES[] = {sizeof(Launch), sizeof(Checks), sizeof(ArrayArgument), sizeof(SharedArray),
                                  sizeof(Cell)};
    return BYTES[number];
}

EMULATOR_EXPORT size_t emulator_shared_bytes() { return static_cast<size_t>(shared_end - shared_begin); }

static void prepare_block(unsigned long long block) {
    blockIdx.x = static_cast<unsigned>(block % gridDim.x);
    blockIdx.y = static_cast<unsigned>(block / gridDim.x % gridDim.y);
    blockIdx.z = static_cast<unsigned>(block / gridDim.x / gridDim.y);
    fill_with_nan(shared_begin + launch->static_begin, launch->static_end - launch->static_begin);
    fill_with_nan(dynamic_shared, launch->dynamic_bytes);
    forget_meetings();
    forget_copies();
    random_state = static_cast<unsigned long long>(launch->order) * 1000003 + block;
#ifdef EMULATOR_CHECKED
    checks = launch->checks;
    block_number = static_cast<unsigned>(block) + 1;
    forget_shared();
#endif
}

// Run blocks of a launch until none is left. Every worker calls this, each in its own copy of the library.
EMULATOR_EXPORT void emulator_run(Launch* shared_launch, void (*entry)(void* const*), void* const* values,
                                  void* memory) {
    launch = shared_launch;
    kernel = entry;
    arguments = values;
    stacks = memory;
    blockDim = launch->block;
    gridDim = launch->grid;
    prepare_threads();
    for (;;) {
        const long long first = __atomic_fetch_add(&launch->next_block, launch->stride, __ATOMIC_RELAXED);
        for (long long block = first; block < first + launch->stride; ++block) {
            if (block >= launch->blocks || __atomic_load_n(&launch->failed, __ATOMIC_RELAXED)) return;
            prepare_block(static_cast<unsigned long long>(block));
            run_block();
        }
    }
}
