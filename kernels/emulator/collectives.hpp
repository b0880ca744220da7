// Warp collectives: the lanes named in a mask meet, and the last to arrive hands every lane its result.
#pragma once
#include "scheduler.hpp"

namespace emulator {

// What a lane brings to a collective, and what it gets.
struct Lane {
    Collective kind;
    unsigned mask;
    Bits value;
    unsigned source; // the lane whose value it asks for
    Bits result;
};

static Lane lanes[MOST_THREADS];
static unsigned arrived[MOST_THREADS / WARP];         // lanes of each warp that wait in a collective
static unsigned meetings_passed[MOST_THREADS / WARP]; // __syncwarp of each warp in this block

static void forget_meetings() {
    memset(arrived, 0, sizeof arrived);
    memset(meetings_passed, 0, sizeof meetings_passed);
}

static bool has(unsigned mask, unsigned lane) { return mask >> lane & 1; }

// The lanes of a warp that exist: the last warp of a block may have fewer than 32.
static unsigned existing(unsigned warp) {
    const unsigned count = thread_count - warp * WARP;
    return count >= WARP ? 0xffffffffu : (1u << count) - 1;
}

// The lanes that have not left the kernel: CUDA does not wait for the others.
static unsigned living(unsigned warp) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < WARP && warp * WARP + lane < thread_count; ++lane) {
        if (states[warp * WARP + lane] != State::DONE) result |= 1u << lane;
    }
    return result;
}

static void check_agreement(unsigned warp, unsigned members, unsigned first_lane) {
    const Lane& first = lanes[warp * WARP + first_lane];
    const Location where = threads[warp * WARP + first_lane].waits_at;
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (!has(members, lane)) continue;
        const Lane& other = lanes[warp * WARP + lane];
        const Location there = threads[warp * WARP + lane].waits_at;
        if (other.kind != first.kind || other.mask != first.mask || there.line != where.line) {
            become(warp * WARP + lane);
            report("divergent warp collective: lane %u has mask 0x%08x at %s:%d, but lane %u has mask 0x%08x at %s:%d",
                   lane, other.mask, there.file, there.line, first_lane, first.mask, where.file, where.line);
        }
    }
}

static void hand_out(unsigned warp, unsigned members) {
    Lane* const first = lanes + warp * WARP;
    Bits votes = 0;
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (has(members, lane) && first[lane].value != 0) votes |= 1ull << lane;
    }
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (!has(members, lane)) continue;
        Lane& self = first[lane];
        if (self.kind == Collective::BALLOT) self.result = votes;
        if (self.kind != Collective::SHUFFLE) continue;
        if (!has(members, self.source)) {
            become(warp * WARP + lane);
            report("shuffle at %s:%d: lane %u reads from lane %u, which does not take part",
                   threads[current].waits_at.file, threads[current].waits_at.line, lane, self.source);
        }
        self.result = first[self.source].value;
    }
}

// If all of `members` have arrived, give them their results and let them go on.
static bool finish_collective(unsigned warp, unsigned members) {
    if ((arrived[warp] & members) != members) return false;
    const unsigned first = static_cast<unsigned>(__builtin_ctz(members));
    check_agreement(warp, members, first);
    hand_out(warp, members);
    arrived[warp] &= ~members;
    if (lanes[warp * WARP + first].kind == Collective::SYNC) ++meetings_passed[warp];
    for (unsigned lane = first; lane < WARP; ++lane) {
        if (has(members, lane)) states[warp * WARP + lane] = State::READY;
    }
    return true;
}

static bool finish_collectives() {
    bool any = false;
    for (unsigned thread = 0; thread < thread_count; ++thread) {
        if (states[thread] != State::AT_COLLECTIVE) continue;
        any |= finish_collective(thread / WARP, lanes[thread].mask & living(thread / WARP));
    }
    return any;
}

__attribute__((visibility("hidden"))) Bits meet(
    Collective kind, unsigned mask, Bits value, unsigned source, Location where) {
    const unsigned self = current, warp = self / WARP, lane = self % WARP;
    if (!has(mask, lane)) {
        report("warp collective at %s:%d: lane %u is not in its own mask 0x%08x", where.file, where.line, lane, mask);
    }
    lanes[self] = {kind, mask, value, source, 0};
    threads[self].waits_at = where;
    arrived[warp] |= 1u << lane;
    if (!finish_collective(warp, mask & existing(warp))) wait(State::AT_COLLECTIVE, where);
    return lanes[self].result;
}

} // namespace emulator
