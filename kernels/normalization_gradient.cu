// Gradients of normalization: of x, and of gamma and beta.
//
// Math:     xhat = (x - m) scale, g = dy gamma;  dx = scale (g - (sum of g + xhat (sum of g xhat)) / divisor), the sums
//           over the group, the first one 0 without CENTERED, the second where scale is `most`, which is a constant
//           dgamma = sum of dy xhat, dbeta = sum of dy, over the elements of a parameter
// Layout:   dy, x, dx (r0, k0, r1, k1, r2); m, scale one a group, gamma one a parameter, null if it is 1:
//           normalization.cuh says what groups and parameters are. first, second: of each chunk, `row` elements apart, the
//           sums of g and of g xhat, one a group. BY_GROUP these are sums of dy and dy xhat, and gamma comes after them
// Launch:   (groups / GROUPS, splits) blocks of GROUPS x LANES threads; a block has one chunk of its groups.
//           normalization_sums gives the sums of the chunks: of groups, or if `of_groups` is 0 those of dy over the view of
//           parameters. normalization_gradient takes them from there, or computes them itself where a group is one
//           chunk; BY_GROUP it writes dgamma and dbeta besides, which are null else, or where nobody asks
// Memory:   normalization_sums reads dy and x; normalization_gradient reads both and writes dx. What is read again is
//           mostly from cache
// Edges:    any size >= 1; threads past the last group or element only take part in sums
// Numerics: a thread adds up its elements in order, then lanes and chunks are added in fixed orders
// Cost:     about 5 operations an element for the sums, 7 for dx
#include "normalization.cuh"

constexpr bool WEIGHTED = PARAMETERS != BY_GROUP;  // whether gamma is within the sums over groups

__device__ inline Sums sums_of(const Share& share, const Channels& channels, const REAL* dy, const REAL* x,
                               const REAL* gamma, const REAL* mean, const REAL* scale, bool of_groups,
                               REAL* shared) {
    REAL first = 0, second = 0;
#pragma unroll UNROLL
    for (Index e = share.first; e < share.last; e += LANES) {
        const Index place = share.at(e), group = of_groups ? share.group : channels.group_of(share.group, e);
        REAL value = dy[place];
        if (WEIGHTED && of_groups && gamma != nullptr) value *= gamma[channels.parameter(share.group, e)];
        const REAL middle = mean == nullptr ? 0 : mean[group];
        first += value;
        second = fma(value, (x[place] - middle) * scale[group], second);
    }
    first = group_sum(first, shared);
    return {first, group_sum(second, shared)};
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES, RESIDENT)
    normalization_sums(const REAL* __restrict__ dy, const REAL* __restrict__ x, const REAL* __restrict__ gamma,
                       const REAL* __restrict__ mean, const REAL* __restrict__ scale, REAL* __restrict__ first,
                       REAL* __restrict__ second, VIEW, CHANNELS, Index chunk, Index of_groups, Index row) {
    __shared__ REAL shared[THREADS];
    const View view = THIS_VIEW;
    const Channels channels = THESE_CHANNELS;
    const Share share(view, chunk);
    const Sums found = sums_of(share, channels, dy, x, gamma, mean, scale, of_groups != 0, shared);
    if (!share.exists() || Share::this_lane() != 0) return;
    first[blockIdx.y * row + share.group] = found.dy;
    second[blockIdx.y * row + share.group] = found.dy_xhat;
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES, RESIDENT)
    normalization_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, const REAL* __restrict__ gamma,
                           const REAL* __restrict__ mean, const REAL* __restrict__ scale,
                           const REAL* __restrict__ first, const REAL* __restrict__ second, REAL* __restrict__ dgamma,
                           REAL* __restrict__ dbeta, REAL* __restrict__ dx, VIEW, CHANNELS, Index chunk, Index splits,
                           Index row, Index divisor, REAL most) {
    __shared__ REAL shared[THREADS];
    const View view = THIS_VIEW;
    const Channels channels = THESE_CHANNELS;
    const Share share(view, chunk);
    Sums sums = {0, 0};
    if (splits > 1) {
        const Index group = share.exists() ? share.group : view.groups() - 1;
#pragma unroll 1
        for (Index i = Share::this_lane(); i < splits; i += LANES) {
            sums.dy += first[i * row + group];
            sums.dy_xhat += second[i * row + group];
        }
        sums = {group_sum(sums.dy, shared), group_sum(sums.dy_xhat, shared)};
    } else {
        sums = sums_of(share, channels, dy, x, gamma, mean, scale, true, shared);
    }
    if (!share.exists()) return;
    if (share.leads()) {
        if (dgamma != nullptr) dgamma[share.group] = sums.dy_xhat;
        if (dbeta != nullptr) dbeta[share.group] = sums.dy;
    }
    const REAL middle = mean[share.group], unit = scale[share.group], n = static_cast<REAL>(divisor);
    const REAL constant = CENTERED ? sums.dy / n : 0, slope = unit >= most ? 0 : sums.dy_xhat / n;
#pragma unroll UNROLL
    for (Index e = share.first; e < share.last; e += LANES) {
        const Index place = share.at(e), number = channels.parameter(share.group, e);
        const REAL weight = gamma == nullptr ? 1 : gamma[number];
        const REAL g = WEIGHTED ? dy[place] * weight : dy[place];
        const REAL rest = g - constant - (x[place] - middle) * unit * slope;
        dx[place] = rest * (WEIGHTED ? unit : unit * weight);
    }
}
