// Asynchronous copies as each thread has them under way: ptx.cuh's words on the emulator end here.
//
// On a GPU the data arrives at some time between the beginning of a copy and the end of the wait for it. Here it
// arrives as late as it may, and until then the target holds NaN: what is read too early is wrong at every run. The
// checked mode takes both times for writes, so that who still reads what was there before races with the beginning, and
// who reads without a barrier behind the wait races with the end.
#pragma once
#include "collectives.hpp"

namespace emulator {

struct Copy {
    unsigned char* target;
    const unsigned char* source; // null: zeros
    unsigned bytes, group, code;
};

constexpr unsigned MOST_COPIES = 128; // of a thread
static Copy copies[MOST_THREADS][MOST_COPIES];
static unsigned copy_count[MOST_THREADS], groups_closed[MOST_THREADS];

static void forget_copies() {
    memset(copy_count, 0, sizeof copy_count);
    memset(groups_closed, 0, sizeof groups_closed);
}

__attribute__((visibility("hidden"))) void begin_copy(void* target, const void* source, unsigned bytes,
                                                      const void* next) {
    const unsigned code = static_cast<unsigned>(static_cast<const unsigned char*>(next) - library_begin) - 1;
#ifdef EMULATOR_CHECKED
    check_beginning_copy({static_cast<const unsigned char*>(source), bytes, false, code},
                         {static_cast<const unsigned char*>(target), bytes, true, code});
#endif
    if (copy_count[current] == MOST_COPIES) report("more than %u asynchronous copies of a thread", MOST_COPIES);
    fill_with_nan(static_cast<unsigned char*>(target), bytes);
    copies[current][copy_count[current]++] = {static_cast<unsigned char*>(target),
                                              static_cast<const unsigned char*>(source), bytes,
                                              groups_closed[current], code};
}

__attribute__((visibility("hidden"))) void close_group() { ++groups_closed[current]; }

// Finish all copies of this thread but those of its `newest` last groups, and of one that is not closed.
__attribute__((visibility("hidden"))) void finish_copies(unsigned newest) {
    Copy* const own = copies[current];
    unsigned finished = 0;
    for (; finished < copy_count[current] && own[finished].group + newest < groups_closed[current]; ++finished) {
        const Copy& copy = own[finished];
#ifdef EMULATOR_CHECKED
        check({copy.target, copy.bytes, true, copy.code});
#endif
        if (copy.source) {
            memcpy(copy.target, copy.source, copy.bytes);
        } else {
            memset(copy.target, 0, copy.bytes);
        }
    }
    copy_count[current] -= finished;
    memmove(own, own + finished, sizeof *own * copy_count[current]);
}

static void check_copies_at_end() {
    if (!copy_count[current]) return;
    report("leaves the kernel without waiting for %u asynchronous copies", copy_count[current]);
}

} // namespace emulator
