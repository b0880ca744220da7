// Constraints on weights, in place: a norm kept within bounds, or no negative number. For many arrays side by side.
//
// Math:     limit_norms: n = sqrt(sum of w^2 over a group), d = rate min(max(n, minimum), maximum) + (1 - rate) n,
//                        every w of the group is multiplied by d / (1e-7 + n);  non_negative: w[i] = max(w[i], 0)
// Layout:   limit_norms: array a of `sizes` (start, R0, K0, R1, K1, R2, first block) begins at w[start] and has the
//           shape (R0, K0, R1, K1, R2): a group is all elements with equal indices on the kept axes K0 and K1; the
//           reduced axes are R0, R1, R2. Any choice of axes of an array of up to four axes has this form. `limits` has
//           (minimum, maximum, rate) for each array; owners (blocks) is the array of each block.
//           non_negative: blocks of THREADS elements of w (n), those listed in `blocks`, or all if that is null
// Launch:   limit_norms: blocks of GROUPS x LANES threads, x along the groups, y along a group's elements;
//           non_negative: THREADS a block, one per element
// Memory:   w is read twice and written once; neighbouring threads touch neighbouring elements where R2 = 1, as for a
//           Dense kernel with axis 0 or a convolution filter with axes 0, 1, 2
// Edges:    any size >= 1; threads past the last group only take part in the barrier. NaN stays
// Numerics: squares are summed in double, in an order that depends on the sizes alone
// Cost:     3 operations per element
#include "common.cuh"

constexpr REAL EPSILON = static_cast<REAL>(1e-7);
constexpr int SIZES = 7;   // numbers of a row of `sizes`
constexpr int LIMITS = 3;  // numbers of a row of `limits`

extern "C" __global__ void __launch_bounds__(GROUPS * LANES)
    limit_norms(REAL* __restrict__ w, const int* __restrict__ owners, const Index* __restrict__ sizes,
                const REAL* __restrict__ limits) {
    __shared__ double sums[LANES][GROUPS];
    const int array = owners[blockIdx.x];
    sizes += array * SIZES;
    limits += array * LIMITS;
    w += sizes[0];
    const Index r0 = sizes[1], k0 = sizes[2], r1 = sizes[3], k1 = sizes[4], r2 = sizes[5];
    const Index group = (blockIdx.x - sizes[6]) * GROUPS + threadIdx.x;
    const Index size = group < k0 * k1 ? r0 * r1 * r2 : 0;
    const Index a = group / k1, b = group % k1;
    // Element e of the group lies at this offset.
    const auto offset = [=](Index e) {
        const Index p = e / (r1 * r2), q = e / r2 % r1, s = e % r2;
        return (((p * k0 + a) * r1 + q) * k1 + b) * r2 + s;
    };
    double sum = 0;
    // Not unrolled, here and below: that would spill registers on sm_120.
#pragma unroll 1
    for (Index e = threadIdx.y; e < size; e += LANES) {
        const double value = w[offset(e)];
        sum = fma(value, value, sum);
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    sum = 0;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) sum += sums[lane][threadIdx.x];
    const REAL norm = static_cast<REAL>(sqrt(sum));
    const REAL minimum = limits[0], maximum = limits[1], rate = limits[2];
    const REAL within = norm < minimum ? minimum : (norm > maximum ? maximum : norm);
    const REAL wanted = rate * within + (1 - rate) * norm;
    const REAL factor = wanted / (EPSILON + norm);
#pragma unroll 1
    for (Index e = threadIdx.y; e < size; e += LANES) w[offset(e)] *= factor;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    non_negative(REAL* __restrict__ w, const int* __restrict__ blocks, Index n) {
    const Index i = static_cast<Index>(blocks == nullptr ? blockIdx.x : blocks[blockIdx.x]) * THREADS + threadIdx.x;
    if (i < n && w[i] < 0) w[i] = 0;
}
