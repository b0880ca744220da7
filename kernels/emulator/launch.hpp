// What Python hands over for one launch, and what it gets back. backend/emulator_abi.py has the same in ctypes.
#pragma once
#include "types.hpp"

namespace emulator {

enum Order : long long { FORWARD = -1, REVERSE = -2 }; // a number from 0 seeds a permutation

// Who touched a piece of memory, when, and from which instruction. A block of 0 stands for nobody.
struct Access {
    unsigned block;         // number in the grid, plus 1
    unsigned barriers;      // __syncthreads that the block had passed
    unsigned code;          // distance from the beginning of the library
    unsigned short thread;  // number in the block
    unsigned short meetings; // __syncwarp that the warp had passed
};

// What is remembered of each element of memory that a kernel may write: enough to see every race (checks.hpp).
struct Cell {
    Access writer, readers[2];
};

// An array among the arguments, for the checked mode.
struct ArrayArgument {
    unsigned char* begin;
    unsigned long long bytes;
    Cell* cells;         // one per 2^cell_shift bytes; null if the parameter is const
    unsigned cell_shift; // less than item_shift only if arrays of different types overlap
    unsigned item_shift; // an element has 2^item_shift bytes
    unsigned number; // among the arguments
    unsigned writable;
    char type[28]; // for messages: "const float*"
};

// A shared array of the kernel, for messages.
struct SharedArray {
    unsigned begin, end;
    char name[56];
};

// What the checked mode needs beyond Launch.
struct Checks {
    const ArrayArgument* arrays; // those that can be written first
    const SharedArray* shared;
    unsigned array_count, shared_count;
    Cell* static_cells;    // one per 2^shared_shift bytes of the section of static shared memory
    Cell* dynamic_cells;   // likewise of dynamic shared memory
    unsigned shared_shift; // 2, or 0
    unsigned needs_bytes;  // set when 2 is too coarse: the launch was abandoned
    unsigned long long read_only_bytes; // code and constants, from the beginning of the library
};

// One launch, shared by all its workers.
struct Launch {
    dim3 grid, block;
    unsigned dynamic_bytes;            // dynamic shared memory
    unsigned static_begin, static_end; // the kernel's arrays in the section of static shared memory
    Checks* checks;                    // null in the fast mode
    long long order;                   // in which the threads of a block run
    long long blocks;                  // of the grid
    long long next_block;              // not yet taken by a worker
    long long stride;                  // blocks a worker takes at a time
    int failed;                        // set by the first report; all workers stop
    uint3 failed_block, failed_thread;
    char report[1000];
};

} // namespace emulator
