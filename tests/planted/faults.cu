// One fault each, for the emulator's tests, which look for the lines named in the comments `fault: …`.
#include "common.cuh"
#include "ptx.cuh"

extern "C" __global__ void missing_barrier(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[63 - threadIdx.x];  // fault: missing_barrier
}

extern "C" __global__ void missing_barrier_for_bytes(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ unsigned char tile[64];
    tile[threadIdx.x] = static_cast<unsigned char>(x[threadIdx.x]);
    y[threadIdx.x] = tile[threadIdx.x ^ 1];  // fault: missing_barrier_for_bytes
}

// The second trip overwrites what other threads have not yet read in the first.
extern "C" __global__ void missing_second_barrier(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    REAL total = 0;
    for (int trip = 0; trip < 2; ++trip) {
        tile[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        total += tile[63 - threadIdx.x];  // fault: missing_second_barrier
    }
    y[threadIdx.x] = total;
}

extern "C" __global__ void barrier_in_half(const REAL* __restrict__ x, REAL* __restrict__ y) {
    if (threadIdx.x < 32) __syncthreads();  // fault: barrier_in_half
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void two_barriers(const REAL* __restrict__ x, REAL* __restrict__ y) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();  // fault: two_barriers
    }
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void lane_elsewhere(const REAL* __restrict__ x, REAL* __restrict__ y) {
    REAL value = x[threadIdx.x];
    if (threadIdx.x != 5) {
        value = __shfl_xor_sync(0xffffffffu, value, 1);  // fault: lane_elsewhere
    } else {
        __syncthreads();
    }
    y[threadIdx.x] = value;
}

extern "C" __global__ void different_masks(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const unsigned mask = threadIdx.x % 2 ? 0xffffffffu : 0x55555555u | 0x2u;
    y[threadIdx.x] = __shfl_sync(mask, x[threadIdx.x], 0);  // fault: different_masks
}

extern "C" __global__ void not_in_own_mask(const REAL* __restrict__ x, REAL* __restrict__ y) {
    y[threadIdx.x] = __shfl_sync(0xffff0000u, x[threadIdx.x], 16);  // fault: not_in_own_mask
}

extern "C" __global__ void absent_lane(const REAL* __restrict__ x, REAL* __restrict__ y) {
    if (threadIdx.x >= 16) {
        y[threadIdx.x] = 0;
        return;
    }
    y[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], 8);  // fault: absent_lane
}

extern "C" __global__ void read_past(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const Index i = global_thread();
    y[i] = x[i + 1];  // fault: read_past
}

// One thread, in a loop that a compiler may turn into memset.
extern "C" __global__ void fill_past(const REAL* __restrict__ x, REAL* __restrict__ y) {
    if (threadIdx.x == 0) {
        for (int i = 0; i < 65; ++i) y[i] = 0;  // fault: fill_past
    }
}

struct __align__(4 * sizeof(REAL)) Four {
    REAL x, y, z, w;
};

extern "C" __global__ void read_four_past(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const Index i = global_thread();
    if (i < 16) reinterpret_cast<Four*>(y)[i] = reinterpret_cast<const Four*>(x)[i + 1];  // fault: read_four_past
}

extern "C" __global__ void write_before(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const Index i = global_thread();
    y[i - 1] = x[i];  // fault: write_before
}

extern "C" __global__ void shared_index(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[8][7];
    tile[threadIdx.x / 8][threadIdx.x % 8] = x[threadIdx.x];  // fault: shared_index
    y[threadIdx.x] = x[threadIdx.x];
}

__device__ inline void put(REAL* tile, unsigned i, REAL value) {
    tile[i] = value;  // fault: shared_pointer, dynamic_pointer
}

extern "C" __global__ void shared_pointer(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[63];
    put(tile, threadIdx.x, x[threadIdx.x]);
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void dynamic_pointer(const REAL* __restrict__ x, REAL* __restrict__ y) {
    DYNAMIC_SHARED(REAL, tile);
    put(tile, threadIdx.x, x[threadIdx.x]);
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void local_index(const REAL* __restrict__ x, REAL* __restrict__ y) {
    REAL window[8];
    for (int k = 0; k < 8; ++k) window[k] = x[k];
    y[threadIdx.x] = window[threadIdx.x];  // fault: local_index
}

extern "C" __global__ void unwritten(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const Index i = global_thread();
    if (i != 40) y[i] = x[i];
}

extern "C" __global__ void nothing_written(const REAL* __restrict__ x, REAL* __restrict__ y) {
    if (x[0] < 0) y[0] = 0;
}

extern "C" __global__ void too_large(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64][200];
    tile[threadIdx.x][0] = x[threadIdx.x];
    y[threadIdx.x] = tile[threadIdx.x][0];
}

extern "C" __global__ void copy(const REAL* __restrict__ x, REAL* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];  // fault: copy
}

extern "C" __global__ void unwritten_shared(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    if (threadIdx.x != 40) tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x];  // fault: unwritten_shared
}

extern "C" __global__ void write_race(const REAL* __restrict__ x, REAL* __restrict__ y) {
    y[threadIdx.x / 2] = x[threadIdx.x];  // fault: write_race
    y[32 + threadIdx.x / 2] = 0;
}

extern "C" __global__ void block_race(const REAL* __restrict__ x, REAL* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];  // fault: block_race
}

// In place, y[i] = y[i + 1]: right in forward order, on the emulator; wrong on a GPU.
extern "C" __global__ void shift_in_place(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const REAL value = threadIdx.x < 63 ? y[threadIdx.x + 1] : x[0];
    y[threadIdx.x] = value;  // fault: shift_in_place
}

// Shuffles are no memory barriers.
extern "C" __global__ void shuffle_orders_nothing(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    const REAL value = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
    y[threadIdx.x] = tile[threadIdx.x ^ 1] + value;  // fault: shuffle_orders_nothing
}

extern "C" __global__ void warp_barrier_between_warps(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    for (unsigned i = threadIdx.x; i < 64; i += 32) {
        if (threadIdx.x < 32) tile[i] = x[i];
    }
    __syncwarp();
    y[threadIdx.x] = tile[threadIdx.x];  // fault: warp_barrier_between_warps
}

extern "C" __global__ void write_const(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const_cast<REAL*>(x)[threadIdx.x] = 0;  // fault: write_const
    y[threadIdx.x] = 0;
}

extern "C" __global__ void misaligned(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const unsigned char* const bytes = reinterpret_cast<const unsigned char*>(x) + 1;
    y[threadIdx.x] = *reinterpret_cast<const REAL*>(bytes);  // fault: misaligned
}

extern "C" __global__ void overflow(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const int large = 2147483647 - 40 + static_cast<int>(threadIdx.x);  // fault: overflow
    y[threadIdx.x] = x[threadIdx.x] + static_cast<REAL>(large);
}

extern "C" __global__ void shift(const REAL* __restrict__ x, REAL* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x] + static_cast<REAL>(1 << threadIdx.x);  // fault: shift
}

extern "C" __global__ void divide(const REAL* __restrict__ x, REAL* __restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x] + static_cast<REAL>(100 / (7 - static_cast<int>(threadIdx.x)));  // fault: divide
}

// The barrier does not wait for copies.
extern "C" __global__ void copy_not_waited_for(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    copy_async(&tile[threadIdx.x], &x[threadIdx.x], true);
    close_copies();
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];  // fault: copy_not_waited_for
    wait_for_copies<0>();
}

// What was there before is gone, and what comes is not there yet.
extern "C" __global__ void copied_over(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    copy_async(&tile[threadIdx.x], &x[threadIdx.x], true);
    close_copies();
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];  // fault: copied_over
    wait_for_copies<0>();
}

// The wait is for the older of two groups only.
extern "C" __global__ void newest_copy_not_waited_for(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[2][64];
    for (int i = 0; i < 2; ++i) {
        copy_async(&tile[i][threadIdx.x], &x[threadIdx.x], true);
        close_copies();
    }
    wait_for_copies<1>();
    y[threadIdx.x] = tile[0][threadIdx.x];
    y[threadIdx.x] += tile[1][threadIdx.x];  // fault: newest_copy_not_waited_for
    wait_for_copies<0>();
}

extern "C" __global__ void copy_without_barrier(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    copy_async(&tile[threadIdx.x], &x[threadIdx.x], true);
    close_copies();
    wait_for_copies<0>();
    y[threadIdx.x] = tile[63 - threadIdx.x];  // fault: copy_without_barrier
}

// The copy of the second trip begins while others still read what the first one brought.
extern "C" __global__ void copy_too_early(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    REAL total = 0;
    for (int trip = 0; trip < 2; ++trip) {
        copy_async(&tile[threadIdx.x], &x[threadIdx.x], true);
        close_copies();
        wait_for_copies<0>();
        __syncthreads();
        total += tile[63 - threadIdx.x];  // fault: copy_too_early
    }
    y[threadIdx.x] = total;
}

extern "C" __global__ void copy_left(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    y[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == 5) copy_async(&tile[threadIdx.x], &x[threadIdx.x], true);
}

extern "C" __global__ void copy_misaligned(const REAL* __restrict__ x, REAL* __restrict__ y) {
    struct alignas(16) Widest {
        REAL value[16 / sizeof(REAL)];
    };
    __shared__ Widest tile[64];
    y[threadIdx.x] = 0;
    copy_async(&tile[threadIdx.x], reinterpret_cast<const Widest*>(x + 1), true);  // fault: copy_misaligned
    wait_for_copies<0>();
}

extern "C" __global__ void copy_past(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    y[threadIdx.x] = 0;
    copy_async(&tile[threadIdx.x], &x[threadIdx.x + 1], true);  // fault: copy_past
    close_copies();
    wait_for_copies<0>();
}

extern "C" __global__ void copy_to_global(const REAL* __restrict__ x, REAL* __restrict__ y) {
    copy_async(&y[threadIdx.x], &x[threadIdx.x], true);  // fault: copy_to_global
    close_copies();
    wait_for_copies<0>();
}

extern "C" __global__ void copy_from_shared(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[2][64];
    tile[0][threadIdx.x] = x[threadIdx.x];
    copy_async(&tile[1][threadIdx.x], &tile[0][threadIdx.x], true);  // fault: copy_from_shared
    close_copies();
    wait_for_copies<0>();
    y[threadIdx.x] = tile[1][threadIdx.x];
}
