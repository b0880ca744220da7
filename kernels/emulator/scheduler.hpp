// The threads of one block: who runs, who waits, and in which order.
//
// Threads run one after the other. A thread that ends without waiting leaves its stack to the next one; only a thread
// that waits keeps a stack, and so becomes a fiber. Threads are taken in rounds: each round goes through the block in
// the order that was asked for and runs every thread that can run. When a round finds none, either all threads wait at
// one barrier, which then opens, or they wait for each other in vain, which is reported.
#pragma once
#include "fibers.hpp"
#include "launch.hpp"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// What emulator.hpp declares for kernels.
#pragma GCC visibility push(hidden)
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
#pragma GCC visibility pop

namespace emulator {

enum class State : unsigned char { NEW, READY, AT_BARRIER, AT_COLLECTIVE, DONE };

struct Thread {
    uint3 index;
    void* stack;       // where to go on, unless NEW
    Location waits_at; // the barrier or the collective
};

// All statics belong to this worker: each worker has its own copy of the library.
static Launch* launch;
static void (*kernel)(void* const*);
static void* const* arguments;
static void* stacks;
static void* main_stack; // of run_block

static Thread threads[MOST_THREADS];
static State states[MOST_THREADS]; // apart from `threads`, because they are searched often
static unsigned thread_count;
static unsigned current; // the thread that runs

static unsigned order[MOST_THREADS];
static unsigned cursor;   // in `order`
static bool ran_in_round; // whether this round has found a thread that could run
static unsigned long long random_state;

static unsigned at_barrier, done;
static Location barrier;
static unsigned barriers_passed; // in this block

static unsigned free_stacks[MOST_THREADS], free_count;

// Leave the block at once.
[[noreturn]] static void abandon() {
    __atomic_store_n(&launch->failed, 1, __ATOMIC_RELAXED);
    void* left;
    emulator_switch(&left, main_stack);
    __builtin_unreachable();
}

// Record what went wrong, for Python, and abandon the block. The first report of a launch wins.
[[noreturn]] __attribute__((format(printf, 1, 2))) static void report(const char* format, ...) {
    if (!__atomic_exchange_n(&launch->failed, 1, __ATOMIC_RELAXED)) {
        va_list values;
        va_start(values, format);
        vsnprintf(launch->report, sizeof launch->report, format, values);
        va_end(values);
        launch->failed_block = blockIdx;
        launch->failed_thread = threadIdx;
    }
    abandon();
}

inline void become(unsigned thread) {
    current = thread;
    threadIdx = threads[thread].index;
}

// Put the threads into the order of the next round.
static void arrange_round() {
    cursor = 0;
    ran_in_round = false;
    if (launch->order < 0) return; // forward and reverse stay as they are
    for (unsigned i = thread_count; i > 1; --i) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u; // Knuth's MMIX generator
        const unsigned other = static_cast<unsigned>((random_state >> 32) % i);
        const unsigned kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

// What a thread that does not come is doing instead.
static void describe_thread(unsigned thread, char* text, size_t size) {
    if (states[thread] == State::DONE) {
        snprintf(text, size, "has left the kernel");
    } else {
        snprintf(text, size, "waits at %s:%d", threads[thread].waits_at.file, threads[thread].waits_at.line);
    }
}

// Nobody can run: name one thread that waits and one that will never join it.
[[noreturn]] static void report_stuck() {
    unsigned waiting = 0;
    while (states[waiting] == State::DONE) ++waiting;
    const Location where = threads[waiting].waits_at;
    unsigned absent = 0;
    while (absent + 1 < thread_count && states[absent] == states[waiting] &&
           threads[absent].waits_at.line == where.line) {
        ++absent;
    }
    char reason[200];
    describe_thread(absent, reason, sizeof reason);
    become(waiting);
    const uint3 other = threads[absent].index;
    report("%s: waits at %s:%d for thread (%u, %u, %u), which %s",
           states[waiting] == State::AT_BARRIER ? "divergent __syncthreads" : "divergent warp collective",
           where.file, where.line, other.x, other.y, other.z, reason);
}

// Refuse that a thread leaves copies behind (copies.hpp).
static void check_copies_at_end();

// Let collectives go on that waited for a lane which has left the kernel since (collectives.hpp).
static bool finish_collectives();

static void open_barrier() {
    at_barrier = 0;
    ++barriers_passed;
    memset(states, static_cast<int>(State::READY), thread_count);
}

// Return the next thread that can run; `thread_count` if all are done.
static unsigned next_thread() {
    for (;;) {
        while (cursor < thread_count) {
            const unsigned thread = order[cursor++];
            if (states[thread] <= State::READY) {
                ran_in_round = true;
                return thread;
            }
        }
        if (done == thread_count) return thread_count;
        if (at_barrier == thread_count) {
            open_barrier();
        } else if (!ran_in_round && !finish_collectives()) {
            report_stuck();
        }
        arrange_round();
    }
}

// Life of a stack: run threads from their beginning until one has to go on elsewhere.
static void run_threads() {
    const unsigned number = free_stacks[--free_count];
    for (;;) {
        kernel(arguments);
        check_copies_at_end();
        states[current] = State::DONE;
        ++done;
        const unsigned next = next_thread();
        void* left; // nobody comes back to a stack that has been left here
        if (next == thread_count) emulator_switch(&left, main_stack);
        become(next);
        if (states[next] == State::NEW) continue;
        free_stacks[free_count++] = number;
        emulator_switch(&left, threads[next].stack);
    }
}

// Let others run until the current thread may go on.
static void wait(State state, Location where) {
    const unsigned self = current;
    states[self] = state;
    threads[self].waits_at = where;
    const unsigned next = next_thread();
    if (next != self) {
        become(next);
        const bool begins = states[next] == State::NEW;
        void* const stack =
            begins ? fresh_stack(stacks, free_stacks[free_count - 1], run_threads) : threads[next].stack;
        emulator_switch(&threads[self].stack, stack);
    }
}

__attribute__((visibility("hidden"))) void wait_for_block(Location where) {
    if (at_barrier == 0) barrier = where;
    if (where.line != barrier.line || (where.file != barrier.file && strcmp(where.file, barrier.file) != 0)) {
        report("divergent __syncthreads: waits at %s:%d while others wait at %s:%d",
               where.file, where.line, barrier.file, barrier.line);
    }
    ++at_barrier;
    wait(State::AT_BARRIER, where);
}

// Prepare for blocks of the launch's shape.
static void prepare_threads() {
    thread_count = 0;
    for (unsigned z = 0; z < blockDim.z; ++z) {
        for (unsigned y = 0; y < blockDim.y; ++y) {
            for (unsigned x = 0; x < blockDim.x; ++x) threads[thread_count++].index = {x, y, z};
        }
    }
    for (unsigned i = 0; i < thread_count; ++i) {
        order[i] = launch->order == REVERSE ? thread_count - 1 - i : i;
    }
}

static void run_block() {
    memset(states, static_cast<int>(State::NEW), thread_count);
    at_barrier = done = barriers_passed = 0;
    free_count = thread_count;
    for (unsigned i = 0; i < thread_count; ++i) free_stacks[i] = thread_count - 1 - i;
    arrange_round();
    become(next_thread());
    emulator_switch(&main_stack, fresh_stack(stacks, free_stacks[free_count - 1], run_threads));
}

} // namespace emulator
