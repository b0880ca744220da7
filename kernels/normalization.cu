// Normalization of groups of elements by their own statistics, or by given ones.
//
// Math:     m = mean of the group's x, v = mean of (x - m)^2 (CENTERED), or m = 0, v = sum of x^2 / divisor
//           scale = min(1 / sqrt(v + epsilon), most);  y = (x - m) scale gamma + beta
//           moving mean = momentum (moving mean) + rest m, and so the moving variance with v
//           standardize: y = (x - mean) factor + beta, factor = gamma / max(sqrt(variance + epsilon), least), or with
//           `inverse` gamma times this root
// Layout:   x, y (r0, k0, r1, k1, r2): normalization.cuh says what groups and parameters are. m, scale, moving mean and
//           variance: one a group. means, squares (splits, groups): of each chunk its mean and the sum of (x - mean)^2.
//           gamma, beta: one a parameter. Null is what was None: gamma 1, beta 0, mean 0, variance one without a root
// Launch:   (groups / GROUPS, splits) blocks of GROUPS x LANES threads; a block has one chunk of its groups. A group of
//           one chunk has its statistics computed by `normalization`; else `normalization_moments` has computed those of
//           the chunks, which every block of the group puts together
// Memory:   normalization reads x three times in all (twice without CENTERED) and writes y; all but the first read of a
//           chunk are mostly from cache. standardize reads x and writes y once
// Edges:    any size >= 1; threads past the last group or element only take part in sums. A NaN or infinity spoils its
//           group and no other
// Numerics: two passes: the mean of a chunk, corrected by the mean of what is left, then squares of differences; chunks
//           are put together by Chan's formula (Chan, Golub, LeVeque 1983). A thread adds up its elements in order, then
//           lanes and chunks are added in fixed orders
// Cost:     about 8 operations an element, standardize 3
#include "normalization.cuh"

struct Moments {
    REAL mean, squares;  // the sum of (x - mean)^2
};

// Of the elements of this thread's group in its chunk; `count` is how many these are.
__device__ inline Moments moments_of(const Share& share, const REAL* x, Index count, REAL* shared) {
    REAL sum = 0, squares = 0;
    if (!CENTERED) {
#pragma unroll UNROLL
        for (Index e = share.first; e < share.last; e += LANES) {
            const REAL value = x[share.at(e)];
            squares = fma(value, value, squares);
        }
        return {0, group_sum(squares, shared)};
    }
    const REAL n = static_cast<REAL>(count);
#pragma unroll UNROLL
    for (Index e = share.first; e < share.last; e += LANES) sum += x[share.at(e)];
    const REAL mean = group_sum(sum, shared) / n;
    REAL left = 0;
#pragma unroll UNROLL
    for (Index e = share.first; e < share.last; e += LANES) {
        const REAL value = x[share.at(e)] - mean;
        left += value;
        squares = fma(value, value, squares);
    }
    left = group_sum(left, shared) / n;
    return {mean + left, group_sum(squares, shared) - left * left * n};
}

__device__ inline Index count_of(const View& view, Index split, Index chunk) {
    const Index rest = view.terms() - split * chunk;
    return rest < chunk ? rest : chunk;
}

// Of all chunks, from those of each.
__device__ inline Moments merged(const Share& share, const REAL* means, const REAL* squares, Index chunk, Index splits,
                                 REAL* shared) {
    const Index groups = share.view.groups(), group = share.exists() ? share.group : groups - 1;
    const int lane = Share::this_lane();
    const REAL n = static_cast<REAL>(share.view.terms()), first = CENTERED ? means[group] : 0;
    REAL sum = 0, mean = 0;
    if (CENTERED) {
#pragma unroll 1
        for (Index i = lane; i < splits; i += LANES)
            sum += (means[i * groups + group] - first) * static_cast<REAL>(count_of(share.view, i, chunk));
        mean = first + group_sum(sum, shared) / n;
    }
    sum = 0;
#pragma unroll 1
    for (Index i = lane; i < splits; i += LANES) {
        const REAL apart = CENTERED ? means[i * groups + group] - mean : 0;
        sum += squares[i * groups + group] + apart * apart * static_cast<REAL>(count_of(share.view, i, chunk));
    }
    return {mean, group_sum(sum, shared)};
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES, RESIDENT)
    normalization_moments(const REAL* __restrict__ x, REAL* __restrict__ means, REAL* __restrict__ squares, VIEW,
                          Index chunk) {
    __shared__ REAL shared[THREADS];
    const View view = THIS_VIEW;
    const Share share(view, chunk);
    const Moments found = moments_of(share, x, count_of(view, blockIdx.y, chunk), shared);
    if (!share.exists() || Share::this_lane() != 0) return;
    means[blockIdx.y * view.groups() + share.group] = found.mean;
    squares[blockIdx.y * view.groups() + share.group] = found.squares;
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES, RESIDENT)
    normalization(const REAL* __restrict__ x, const REAL* __restrict__ gamma, const REAL* __restrict__ beta,
                  const REAL* __restrict__ means, const REAL* __restrict__ squares, REAL* __restrict__ moving_mean,
                  REAL* __restrict__ moving_variance, REAL* __restrict__ mean, REAL* __restrict__ scale,
                  REAL* __restrict__ y, VIEW, CHANNELS, Index chunk, Index splits, Index divisor, REAL epsilon,
                  REAL most, REAL momentum, REAL rest) {
    __shared__ REAL shared[THREADS];
    const View view = THIS_VIEW;
    const Channels channels = THESE_CHANNELS;
    const Share share(view, chunk);
    const Moments found = splits > 1 ? merged(share, means, squares, chunk, splits, shared)
                                      : moments_of(share, x, view.terms(), shared);
    const REAL variance = found.squares / static_cast<REAL>(divisor);
    const REAL inverse = 1 / sqrt(variance + epsilon), unit = inverse > most ? most : inverse;
    if (share.leads()) {
        mean[share.group] = found.mean;
        scale[share.group] = unit;
        if (moving_mean != nullptr) {
            moving_mean[share.group] = moving_mean[share.group] * momentum + found.mean * rest;
            moving_variance[share.group] = moving_variance[share.group] * momentum + variance * rest;
        }
    }
#pragma unroll UNROLL
    for (Index e = share.first; e < share.last; e += LANES) {
        const Index place = share.at(e), number = channels.parameter(share.group, e);
        const REAL factor = gamma == nullptr ? unit : gamma[number] * unit;
        const REAL value = (x[place] - found.mean) * factor;
        y[place] = beta == nullptr ? value : value + beta[number];
    }
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES, RESIDENT)
    standardize(const REAL* __restrict__ x, const REAL* __restrict__ mean, const REAL* __restrict__ variance,
                const REAL* __restrict__ gamma, const REAL* __restrict__ beta, REAL* __restrict__ y, VIEW, Index chunk,
                Index inverse, REAL epsilon, REAL least) {
    const View view = THIS_VIEW;
    const Share share(view, chunk);
    if (!share.exists()) return;
    REAL factor = 1;
    if (variance != nullptr) {
        const REAL root = sqrt(variance[share.group] + epsilon), bounded = root < least ? least : root;
        factor = inverse ? bounded : 1 / bounded;
    }
    if (gamma != nullptr) factor = variance == nullptr ? gamma[share.group] : gamma[share.group] * factor;
    const REAL middle = mean == nullptr ? 0 : mean[share.group], offset = beta == nullptr ? 0 : beta[share.group];
#pragma unroll UNROLL
    for (Index e = share.first; e < share.last; e += LANES) {
        const Index place = share.at(e);
        const REAL value = (x[place] - middle) * factor;
        y[place] = beta == nullptr ? value : value + offset;
    }
}
