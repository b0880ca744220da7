// The circle loss of embeddings, from their products, and its derivatives by these.
//
// Math:     d = max(1 - s[i, j], 0);  a = gamma (d + margin) (d - margin);  b = gamma room (1 - margin - d),
//           room = max(1 + margin - d, 0);  p = log sum exp(a) over the j with the label of i (without i itself, if the
//           diagonal is removed);  n = log sum exp(b) over the j with another label
//           loss[i] = log(1 + exp(p + n));  ds[i, j] = -dloss[i] / dd where s < 1, else 0
//           = sigmoid(p + n) times -2 gamma d exp(a - p), or 2 gamma (1 - d) exp(b - n) where there is room
// Layout:   s, ds (n, n), row-major; labels, losses (n)
// Launch:   one warp per row, THREADS / 32 rows a block; the lanes stride over the row
// Memory:   a row is read three times, twice from cache
// Edges:    n >= 1; without such j, p or n is -infinity, and the loss and its derivatives are 0
// Numerics: the largest exponent is taken off first; no exponential overflows
// Cost:     two exponentials and some 20 operations per element
#include "common.cuh"
#include "reduce.cuh"

constexpr REAL LOWEST = static_cast<REAL>(-3.4e38);

// One of the two sums of a row: the largest exponent, and the sum of the exponentials of all less that.
struct Sum {
    REAL top, total;

    __device__ inline REAL logarithm() const { return log(total) + top; }
};

struct Row {
    const REAL* s;
    const int* labels;
    Index row, n;
    REAL gamma, margin;
    bool removes;

    __device__ inline bool near(Index j) const { return labels[j] == labels[row]; }

    __device__ inline bool counts(Index j, bool of_near) const {
        return near(j) == of_near && !(of_near && removes && j == row);
    }

    __device__ inline REAL distance(Index j) const { return s[j] > 1 ? static_cast<REAL>(0) : 1 - s[j]; }

    __device__ inline REAL room(REAL d) const { return d > 1 + margin ? static_cast<REAL>(0) : 1 + margin - d; }

    __device__ inline REAL exponent(Index j) const {
        const REAL d = distance(j);
        return near(j) ? gamma * (d + margin) * (d - margin) : gamma * room(d) * (1 - margin - d);
    }

    __device__ inline REAL slope(Index j) const {
        const REAL d = distance(j);
        if (s[j] >= 1) return 0;
        if (near(j)) return -2 * gamma * d;
        return room(d) > 0 ? 2 * gamma * (1 - d) : static_cast<REAL>(0);
    }

    // Not unrolled, here and below: that would spill registers on sm_90.
    __device__ inline Sum sum(bool of_near, int lane) const {
        REAL top = LOWEST, total = 0;
#pragma unroll 1
        for (Index j = lane; j < n; j += WARP) {
            if (counts(j, of_near)) top = fmax(top, exponent(j));
        }
        top = warp_max(top);
#pragma unroll 1
        for (Index j = lane; j < n; j += WARP) {
            if (counts(j, of_near)) total += exp(exponent(j) - top);
        }
        return {top, warp_sum(total)};
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    circle_loss(const REAL* __restrict__ s, const int* __restrict__ labels, REAL* __restrict__ losses,
                REAL* __restrict__ ds, REAL gamma, REAL margin, Index removes_diagonal, Index n) {
    const Index i = global_thread() / WARP;
    if (i >= n) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Row row{s + i * n, labels, i, n, gamma, margin, removes_diagonal != 0};
    ds += i * n;
    const Sum near = row.sum(true, lane), far = row.sum(false, lane);
    const bool none = near.total == 0 || far.total == 0;
    const REAL z = none ? static_cast<REAL>(0) : near.logarithm() + far.logarithm();
    const REAL e = exp(-fabs(z));
    const REAL factor = none ? static_cast<REAL>(0) : (z >= 0 ? static_cast<REAL>(1) : e) / (1 + e);
    if (lane == 0) losses[i] = none ? static_cast<REAL>(0) : (z > 0 ? z : static_cast<REAL>(0)) + log1p(e);
#pragma unroll 1
    for (Index j = lane; j < n; j += WARP) {
        const bool is_near = row.near(j);
        const Sum& own = is_near ? near : far;
        const bool counts = row.counts(j, is_near) && !none;
        ds[j] = counts ? row.slope(j) * factor * (exp(row.exponent(j) - own.top) / own.total) : static_cast<REAL>(0);
    }
}
