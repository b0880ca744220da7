// The CUDA that our kernels use, in plain C++17: every `.cu` file is compiled for the CPU with this file put before it.
//
// A kernel becomes an ordinary function that runs once per thread. The thread's number is in `threadIdx`, which
// scheduler.hpp sets before it lets a thread run. A thread that waits (__syncthreads, a warp collective) calls into
// scheduler.hpp, which switches to the stack of another thread. There are no includes of the standard library: they
// would take longer to compile than the kernels.
#pragma once
#include "platform.hpp"
#include "types.hpp"

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// All shared arrays of a file lie in one section of the library, which is refilled with NaN before every block. Each
// worker thread has its own copy of the library, hence its own shared memory. `used`: the compiler must not believe
// that it sees every read and write of them.
#define __shared__ static __attribute__((section(EMULATOR_SHARED_SECTION), used))

// Dynamic shared memory: `DYNAMIC_SHARED(REAL, tile);` declares `REAL* tile`. common.cuh has the CUDA twin.
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(emulator::dynamic_shared)

// A last parameter that tells the file and line of the call, for messages.
#define EMULATOR_WHERE emulator::Location where = {__builtin_FILE(), __builtin_LINE()}

#pragma GCC visibility push(hidden)

// Constant while a thread runs, therefore const here; scheduler.hpp sets them whenever it changes threads.
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;
constexpr int warpSize = emulator::WARP;

namespace emulator {
extern unsigned char dynamic_shared[];
void wait_for_block(Location where);
Bits meet(Collective kind, unsigned mask, Bits value, unsigned source_lane, Location where);
} // namespace emulator

inline void __syncthreads(EMULATOR_WHERE) { emulator::wait_for_block(where); }

#include "ptx.hpp"

#pragma GCC visibility pop

#include "entry.hpp"
#include "math.hpp"
#include "warp.hpp"
