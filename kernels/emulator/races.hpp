// Races: who touched each element of memory, and whether two accesses are ordered.
//
// Two accesses are ordered if they are of one block with a __syncthreads between them, or of one warp with a
// __syncwarp between them; shuffles and votes order nothing, as on a GPU. Two unordered accesses of different threads
// to one element, at least one of them a write, are a race, in whatever order the emulator ran them. (One
// simplification: a __syncwarp of some lanes is taken to order all lanes of the warp.)
#pragma once
#include "collectives.hpp"

namespace emulator {

static unsigned block_number; // in the grid, plus 1

static Access access_now(unsigned code) {
    return {block_number, barriers_passed, code, static_cast<unsigned short>(current),
            static_cast<unsigned short>(meetings_passed[current / WARP])};
}

static bool same_thread(const Access& a, const Access& b) { return a.block == b.block && a.thread == b.thread; }

// How far apart two threads are: 0 in one warp, 1 in one block, 2 in different blocks.
static int distance(const Access& a, const Access& b) {
    return a.block != b.block ? 2 : a.thread / WARP != b.thread / WARP ? 1 : 0;
}

// Whether `earlier`, if it is anybody's, is ordered before `now`.
static inline bool ordered(const Access& earlier, const Access& now) {
    if (earlier.block == 0 || same_thread(earlier, now)) return true;
    const int far = distance(earlier, now);
    return (far < 2 && earlier.barriers != now.barriers) || (far == 0 && earlier.meetings != now.meetings);
}

// Return the earlier access to `cell` that races with one that happens now, or null.
static const Access* find_race(const Cell& cell, const Access& now, bool write) {
    if (!ordered(cell.writer, now)) return &cell.writer;
    if (!write) return nullptr;
    for (const Access& reader : cell.readers) {
        if (!ordered(reader, now)) return &reader;
    }
    return nullptr;
}

// Remember an access. Two readers are enough: a write that is unordered with any reader is unordered with one of the
// two, if those that are ordered before a new reader make room for it, and else the two are kept as far apart as they
// can be.
static void remember(Cell& cell, const Access& now, bool write) {
    if (write) {
        cell.writer = now;
        return;
    }
    for (Access& reader : cell.readers) {
        if (ordered(reader, now)) {
            reader = now;
            return;
        }
    }
    if (distance(cell.readers[0], now) > distance(cell.readers[0], cell.readers[1])) cell.readers[1] = now;
}

} // namespace emulator
