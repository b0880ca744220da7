// Scatter: rows are added where keys say, in the order of the keys' positions, without atomics.
//
// Math:     out[r, c] += sum of weights[i] values[i / per, c] over the i with keys[i] = r, in ascending order of i
//           keys are sorted, stably, by RADIX_BITS bits at a time from the lowest on: digit_counts counts how often each
//           digit occurs in each block's part of the keys, exclusive_scan makes these counts places, move_by_digit moves
//           keys and their positions there. row_starts finds where each row's keys begin, add_rows adds
// Layout:   keys, positions (m) in int; counts (RADIX, blocks); starts (rows + 1); values (m / per, width); out
//           (rows, width); weights (m), null where all are 1; positions null where they are 0, 1, 2, ...
// Launch:   digit_counts, move_by_digit: a block takes THREADS PER_THREAD keys, a thread PER_THREAD neighbours;
//           exclusive_scan: one block; row_starts: a thread per row; add_rows: a thread per element of out
// Memory:   a pass over the keys reads them twice and moves them once; values are read once, coalesced along a row; only
//           rows of out that have keys are read and written
// Edges:    m >= 1; keys are 0 to rows: those of `rows` are left out; m and rows below 2^31
// Numerics: a product is rounded, then added; sums begin with 0; their order is that of i, whatever the launch
// Cost:     one multiplication and one addition per value
#include "common.cuh"

constexpr int RADIX = 1 << RADIX_BITS;
constexpr int LINE = THREADS + 1;  // of the counts in shared memory: one more, so that lines begin in different banks

__device__ inline int digit_of(int key, Index shift) { return (key >> shift) & (RADIX - 1); }

// Count the digits of this thread's keys, in its column of `shared`.
__device__ inline void count_digits(const int* keys, int* shared, Index first, Index end, Index shift) {
    for (int d = 0; d < RADIX; ++d) shared[d * LINE + threadIdx.x] = 0;
    for (Index i = first; i < end; ++i) ++shared[digit_of(keys[i], shift) * LINE + threadIdx.x];
}

__device__ inline Index first_of_thread() { return global_thread() * PER_THREAD; }
__device__ inline Index end_of_thread(Index m) {
    return first_of_thread() + PER_THREAD < m ? first_of_thread() + PER_THREAD : m;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    digit_counts(const int* __restrict__ keys, int* __restrict__ counts, Index m, Index shift) {
    __shared__ int shared[RADIX * LINE];
    count_digits(keys, shared, first_of_thread(), end_of_thread(m), shift);
    __syncthreads();
    for (int d = threadIdx.x; d < RADIX; d += THREADS) {
        int sum = 0;
        for (int t = 0; t < THREADS; ++t) sum += shared[d * LINE + t];
        counts[static_cast<Index>(d) * gridDim.x + blockIdx.x] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) exclusive_scan(int* __restrict__ counts, Index n) {
    __shared__ int sums[THREADS];
    const Index share = ceil_div(n, THREADS), first = threadIdx.x * share;
    const Index end = first + share < n ? first + share : n;
    int sum = 0;
    for (Index i = first; i < end; ++i) sum += counts[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    int place = 0;
    for (int t = 0; t < threadIdx.x; ++t) place += sums[t];
    for (Index i = first; i < end; ++i) {
        const int count = counts[i];
        counts[i] = place;
        place += count;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    move_by_digit(const int* __restrict__ keys, const int* __restrict__ positions, const int* __restrict__ counts,
                  int* __restrict__ moved_keys, int* __restrict__ moved_positions, Index m, Index shift) {
    __shared__ int shared[RADIX * LINE];
    count_digits(keys, shared, first_of_thread(), end_of_thread(m), shift);
    __syncthreads();
    for (int d = threadIdx.x; d < RADIX; d += THREADS) {
        int place = counts[static_cast<Index>(d) * gridDim.x + blockIdx.x];
        for (int t = 0; t < THREADS; ++t) {
            const int count = shared[d * LINE + t];
            shared[d * LINE + t] = place;
            place += count;
        }
    }
    __syncthreads();
    for (Index i = first_of_thread(); i < end_of_thread(m); ++i) {
        const int place = shared[digit_of(keys[i], shift) * LINE + threadIdx.x]++;
        moved_keys[place] = keys[i];
        moved_positions[place] = positions != nullptr ? positions[i] : static_cast<int>(i);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    row_starts(const int* __restrict__ keys, int* __restrict__ starts, Index m, Index rows) {
    const Index row = global_thread();
    if (row > rows) return;
    Index low = 0, high = m;  // the first key that is not below `row` is among these, or at the end
    while (low < high) {
        const Index middle = (low + high) / 2;
        if (keys[middle] < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    starts[row] = static_cast<int>(low);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    add_rows(const int* __restrict__ starts, const int* __restrict__ positions, const REAL* __restrict__ values,
             const REAL* __restrict__ weights, REAL* __restrict__ out, Index rows, Index width, Index per) {
    const Index i = global_thread();
    if (i >= rows * width) return;
    const Index row = i / width, column = i - row * width;
    const int first = starts[row], end = starts[row + 1];
    if (first == end) return;
    REAL sum = 0;
#pragma unroll 4
    for (int k = first; k < end; ++k) {
        const Index position = positions[k];
        const REAL value = values[position / per * width + column];
        sum += weights != nullptr ? weights[position] * value : value;
    }
    out[i] += sum;
}
