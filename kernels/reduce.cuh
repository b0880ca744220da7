// Reductions over a warp and over a block, in a fixed order: the same bits at every run and for any order of threads.
//
// All lanes of a warp, and all threads of a block, must call these together (threads that have no element of their own
// bring 0 to a sum), and every one gets the result. BLOCK is the number of threads in the block, a multiple of 32;
// `shared` has BLOCK / 32 elements and may be used again at once after the call. T is float, double or an integer.
//
//     __shared__ REAL shared[THREADS / 32];
//     const REAL sum = block_sum<THREADS>(value, shared);
constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Sum over the warp: five exchanges between lanes that are 16, 8, 4, 2 and 1 apart. Both lanes of a pair add the same
// two numbers, so that all lanes end with the same bits.
template <typename T>
__device__ inline T warp_sum(T value) {
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) value += __shfl_xor_sync(ALL_LANES, value, apart);
    return value;
}

// Largest value of the warp; a NaN is left out unless all lanes bring one, as fmax does.
template <typename T>
__device__ inline T warp_max(T value) {
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) value = fmax(value, __shfl_xor_sync(ALL_LANES, value, apart));
    return value;
}

// Sum over the block: a sum per warp, then all threads add up the warps' sums, in order.
template <int BLOCK, typename T>
__device__ inline T block_sum(T value, T* shared) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = value;
    __syncthreads();
    T sum = shared[0];
#pragma unroll
    for (int warp = 1; warp < BLOCK / WARP; ++warp) sum += shared[warp];
    __syncthreads();
    return sum;
}
