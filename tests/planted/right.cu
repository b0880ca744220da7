// Right kernels for the emulator's tests: every one passes in both modes and in any order of threads.
#include "common.cuh"
#include "ptx.cuh"

extern "C" __global__ void thread_numbers(int* __restrict__ y) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    y[block * threads + thread] = static_cast<int>(1000000 * threadIdx.z + 10000 * threadIdx.y + 100 * threadIdx.x) +
                                  static_cast<int>(16 * blockIdx.z + 4 * blockIdx.y + blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(64) reverse(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    const Index first = blockIdx.x * 64;
    tile[threadIdx.x] = x[first + threadIdx.x];
    __syncthreads();
    y[first + threadIdx.x] = tile[63 - threadIdx.x];
}

// Many barriers; blockDim.x is a power of two.
extern "C" __global__ void __launch_bounds__(1024) sum_tree(const REAL* __restrict__ x, REAL* __restrict__ y) {
    DYNAMIC_SHARED(REAL, part);
    part[threadIdx.x] = x[global_thread()];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) y[blockIdx.x] = part[0];
}

// y[k][lane] is the result of the k-th collective.
extern "C" __global__ void __launch_bounds__(32) collectives(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const unsigned lane = threadIdx.x, all = 0xffffffffu;
    const REAL value = x[lane];
    y[0 * 32 + lane] = __shfl_sync(all, value, 5);
    y[1 * 32 + lane] = __shfl_sync(all, value, 3, 8);
    y[2 * 32 + lane] = __shfl_up_sync(all, value, 3);
    y[3 * 32 + lane] = __shfl_up_sync(all, value, 3, 8);
    y[4 * 32 + lane] = __shfl_down_sync(all, value, 3);
    y[5 * 32 + lane] = __shfl_down_sync(all, value, 3, 8);
    y[6 * 32 + lane] = __shfl_xor_sync(all, value, 5);
    y[7 * 32 + lane] = static_cast<REAL>(__ballot_sync(all, lane % 3 == 0) >> 8);
    y[8 * 32 + lane] = static_cast<REAL>(__any_sync(all, lane == 40) * 2 + __any_sync(all, lane == 4));
    y[9 * 32 + lane] = static_cast<REAL>(__all_sync(all, lane < 32) * 2 + __all_sync(all, lane < 31));
    // Two halves of a warp that meet apart.
    const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    y[10 * 32 + lane] = lane < 16 ? __shfl_xor_sync(half, value, 1) : __shfl_xor_sync(half, value, 2);
    __syncwarp(half);
    y[11 * 32 + lane] = static_cast<REAL>(__shfl_down_sync(all, static_cast<long long>(lane) << 40, 1) >> 40);
}

// Lanes that do not exist, or that have left, are not waited for.
extern "C" __global__ void __launch_bounds__(64) few_lanes(REAL* __restrict__ y) {
    const int lane = static_cast<int>(threadIdx.x);
    y[lane] = static_cast<REAL>(__shfl_xor_sync(0xffffffffu, lane, 1));
    if (lane % 32 >= 4) return;
    y[lane] += static_cast<REAL>(__shfl_xor_sync(0xffffffffu, 100 * lane, 1));
}

// A warp's own exchange through shared memory, ordered by __syncwarp alone.
extern "C" __global__ void __launch_bounds__(64) exchange_in_warp(const REAL* __restrict__ x, REAL* __restrict__ y) {
    __shared__ REAL tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    y[threadIdx.x] = tile[threadIdx.x ^ 1];
}

extern "C" __global__ void functions(const REAL* __restrict__ x, REAL* __restrict__ y, Index n) {
    const Index i = global_thread();
    if (i >= n) return;
    const REAL a = x[i];
    const REAL one = 1;
    const REAL values[] = {exp(a),  expm1(a),          log(a),       log1p(a),     tanh(a),      erf(a),      sqrt(a),
                           fabs(a), pow(a, REAL(1.5)), fmin(a, one), fmax(a, one), fma(a, a, a), min(a, one), max(a, one)};
    for (int k = 0; k < 14; ++k) y[k * n + i] = values[k];
}

extern "C" __global__ void product_high(unsigned long long* __restrict__ y, Index a, Index b) {
    y[0] = __umul64hi(static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
}

// What shared memory holds before anything is written is a NaN, in every block.
extern "C" __global__ void __launch_bounds__(32) spoil(REAL* __restrict__ y) {
    __shared__ REAL tile[32];
    y[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x];
    tile[threadIdx.x] = 1;
}

// Adds up in the order in which the threads run: only to show that the order is what was asked for.
extern "C" __global__ void __launch_bounds__(64) running_order(int* __restrict__ y, int* __restrict__ next) {
    y[threadIdx.x] = next[0]++;
}

extern "C" __global__ void types(const double* a, float* b, const int* c, unsigned char* d, Index e, REAL f) {
    if (!a) return;
    b[0] = static_cast<float>(a[0]) + static_cast<float>(c[0] + d[0]) + static_cast<float>(e) + static_cast<float>(f);
}

extern "C" __global__ void __launch_bounds__(64, 2) bounded(REAL* __restrict__ y) { y[threadIdx.x] = 0; }

// Long enough for its blocks to be spread over workers.
extern "C" __global__ void __launch_bounds__(64) iterate(const REAL* __restrict__ x, REAL* __restrict__ y, Index n) {
    __shared__ REAL tile[64];
    REAL value = x[global_thread()];
    for (Index i = 0; i < n; ++i) {
        tile[threadIdx.x] = value;
        __syncthreads();
        value = fma(value, REAL(0.5), tile[(threadIdx.x + 1) % 64]);
        __syncthreads();
    }
    y[global_thread()] = value;
}

struct __align__(4 * sizeof(REAL)) Four {
    REAL x, y, z, w;
};

// Accesses to several elements at once.
extern "C" __global__ void copy_fours(const REAL* __restrict__ x, REAL* __restrict__ y) {
    const Index i = global_thread();
    reinterpret_cast<Four*>(y)[i] = reinterpret_cast<const Four*>(x)[i];
}

// Bytes of one word of shared memory that belong to different threads.
extern "C" __global__ void __launch_bounds__(64) reverse_bytes(const unsigned char* __restrict__ x,
                                                               unsigned char* __restrict__ y) {
    __shared__ unsigned char tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}

struct alignas(16) Widest {
    REAL value[16 / sizeof(REAL)];
};

// Copies under way for two trips ahead, in groups; a group may be empty. What lies outside of x is zero.
extern "C" __global__ void __launch_bounds__(64) copy_ahead(const REAL* __restrict__ x, REAL* __restrict__ y, Index n) {
    constexpr int STAGES = 3;
    __shared__ Widest tile[STAGES][64];
    const auto begin = [&](Index trip) {
        const Index i = trip * 64 + threadIdx.x;
        if (trip * 64 < n) {
            copy_async(&tile[trip % STAGES][threadIdx.x], reinterpret_cast<const Widest*>(x) + i, i < n);
        }
        close_copies();
    };
    Widest total = {};
    for (Index trip = 0; trip < STAGES - 1; ++trip) begin(trip);
    for (Index trip = 0; trip * 64 < n; ++trip) {
        wait_for_copies<STAGES - 2>();
        __syncthreads();
        begin(trip + STAGES - 1);
        const Widest& other = tile[trip % STAGES][63 - threadIdx.x];
        for (unsigned e = 0; e < 16 / sizeof(REAL); ++e) total.value[e] += other.value[e];
    }
    reinterpret_cast<Widest*>(y)[threadIdx.x] = total;
}
