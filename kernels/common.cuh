// Shared by every kernel: the element type, the index type, and integer helpers.
//
// REAL is float or double and comes from the launch. Offsets are 64-bit everywhere: a tensor may hold more than 2^31
// elements. There are no includes of CUDA's headers: NVRTC needs none, and the emulator has its own.
#ifndef REAL
#error "REAL must be defined as float or double by the launch"
#endif

using Index = long long;

// Smallest integer not below a / b, for a >= 0 and b > 0.
__device__ inline Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

// Number of this thread in a one-dimensional grid: element-wise kernels handle one element per thread.
__device__ inline Index global_thread() { return static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; }

// `DYNAMIC_SHARED(REAL, tile);` declares `REAL* tile`, the shared memory whose size the launch gives. The emulator
// brings a definition of its own.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                     \
    extern __shared__ __align__(16) unsigned char dynamic_shared[];    \
    type* const name = reinterpret_cast<type*>(dynamic_shared)
#endif
