// Losses of classes that are no plain cross-entropy: the focal one, the hinge, the generalized one; their gradients.
//
// Math:     focal:       loss[i] = -sum_j w[i, j] (1 - c)^gamma log c,  c = clip(q[i, j], 1e-7, 1 - 1e-7)
//                        q = y / sum_k y, or softmax(y) of logits;  w = alpha (keep targets + spread)
//                        g[i, j] = dloss[i] / dq[i, j], 0 where q is clipped;  G[i] = sum_j g q
//                        dy = scale (g - G) / sum_k y, of logits scale (g - G) q
//           hinge:       loss[i] = max(n - sum_j t y + 1, 0),  n = max_j (1 - t) y
//                        dy = scale ((1 - t) / m - t) for the m elements that reach n, else -scale t; 0 where loss[i] is
//           generalized: loss[i] = (1 - p[i, label[i]]^q) / q;  dp = -scale p^(q - 1) at the label, else 0
// Layout:   y, p, dy, dp, targets (rows, classes), row-major; labels, losses (rows); alpha (classes) or (1); scale (1),
//           or (rows) if it is given per row
// Launch:   one warp per row, THREADS / 32 rows a block, whose lanes stride over the classes; the generalized loss one
//           thread per row
// Memory:   a row is read up to three times, all but once from cache
// Edges:    rows, classes >= 1; labels are from 0 to classes - 1, which the host has checked
// Numerics: a lane adds up its classes in order, then the lanes are added pairwise; no exponential overflows
// Cost:     two powers and a logarithm per element of the focal loss, an exponential more of logits
#include "common.cuh"
#include "probability.cuh"
#include "reduce.cuh"

// The numbers of the focal loss.
struct Focal {
    const REAL* alpha;
    Index per_class;
    REAL gamma, keep, spread;

    __device__ inline REAL weight(REAL target, Index j) const {
        return alpha[per_class == 0 ? 0 : j] * (keep * target + spread);
    }

    __device__ inline REAL slope(REAL q) const {
        if (is_clipped(q)) return 0;
        const REAL missing = 1 - q;
        const REAL plain = -pow(missing, gamma) / q;
        return gamma == 0 ? plain : plain + gamma * pow(missing, gamma - 1) * log(q);
    }
};

// The outputs of a row as shares q of their sum.
struct Shares {
    const REAL* y;
    REAL top, total;
    bool from_logits;

    __device__ inline Shares(const REAL* y, Index classes, int lane, bool from_logits)
        : y(y), top(0), total(0), from_logits(from_logits) {
        if (from_logits) {
            top = y[0];
            for (Index j = lane; j < classes; j += WARP) top = y[j] > top ? y[j] : top;
            top = warp_max(top);
        }
        for (Index j = lane; j < classes; j += WARP) total += value(j);
        total = warp_sum(total);
    }

    __device__ inline REAL value(Index j) const { return from_logits ? exp(y[j] - top) : y[j]; }

    __device__ inline REAL operator()(Index j) const { return value(j) / total; }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    focal_loss(const REAL* __restrict__ y, const REAL* __restrict__ targets, REAL* __restrict__ losses,
               const REAL* __restrict__ alpha, Index per_class, REAL gamma, Index from_logits, REAL keep, REAL spread,
               Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Focal focal{alpha, per_class, gamma, keep, spread};
    targets += row * classes;
    const Shares shares(y + row * classes, classes, lane, from_logits != 0);
    REAL loss = 0;
#pragma unroll 1
    for (Index j = lane; j < classes; j += WARP) {
        const REAL c = clip(shares(j));
        loss -= focal.weight(targets[j], j) * pow(1 - c, gamma) * log(c);
    }
    loss = warp_sum(loss);
    if (lane == 0) losses[row] = loss;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    focal_loss_gradient(const REAL* __restrict__ y, const REAL* __restrict__ targets, const REAL* __restrict__ scale,
                        REAL* __restrict__ dy, const REAL* __restrict__ alpha, Index per_class, REAL gamma,
                        Index from_logits, REAL keep, REAL spread, Index per_row, Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const Focal focal{alpha, per_class, gamma, keep, spread};
    targets += row * classes;
    dy += row * classes;
    const Shares shares(y + row * classes, classes, lane, from_logits != 0);
    // The slopes wait in dy, where each lane reads only what it wrote.
    REAL common = 0;
#pragma unroll 1
    for (Index j = lane; j < classes; j += WARP) {
        const REAL q = shares(j);
        dy[j] = focal.weight(targets[j], j) * focal.slope(q);
        common += dy[j] * q;
    }
    common = warp_sum(common);
    const REAL factor = scale[per_row == 0 ? 0 : row];
    for (Index j = lane; j < classes; j += WARP) {
        dy[j] = (dy[j] - common) * (from_logits != 0 ? shares(j) : 1 / shares.total) * factor;
    }
}

// What all lanes know of a row's hinge: the largest (1 - t) y, and that less sum_j t y, plus 1.
struct Hinge {
    REAL largest, margin;

    __device__ inline Hinge(const REAL* y, const REAL* t, Index classes, int lane) {
        largest = (1 - t[0]) * y[0];
        REAL chosen = 0;
        for (Index j = lane; j < classes; j += WARP) {
            const REAL other = (1 - t[j]) * y[j];
            largest = other <= largest ? largest : other;
            chosen += t[j] * y[j];
        }
        largest = warp_max(largest);
        margin = largest - warp_sum(chosen) + 1;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    categorical_hinge(const REAL* __restrict__ y, const REAL* __restrict__ t, REAL* __restrict__ losses, Index rows,
                      Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    const Hinge hinge(y + row * classes, t + row * classes, classes, lane);
    if (lane == 0) losses[row] = hinge.margin < 0 ? static_cast<REAL>(0) : hinge.margin;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    categorical_hinge_gradient(const REAL* __restrict__ y, const REAL* __restrict__ t, const REAL* __restrict__ scale,
                               REAL* __restrict__ dy, Index per_row, Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    const int lane = threadIdx.x % WARP;
    y += row * classes;
    t += row * classes;
    dy += row * classes;
    const Hinge hinge(y, t, classes, lane);
    REAL count = 0;
    for (Index j = lane; j < classes; j += WARP) count += (1 - t[j]) * y[j] == hinge.largest ? 1 : 0;
    count = warp_sum(count);
    const REAL factor = hinge.margin > 0 ? scale[per_row == 0 ? 0 : row] : static_cast<REAL>(0);
    for (Index j = lane; j < classes; j += WARP) {
        const REAL other = (1 - t[j]) * y[j] == hinge.largest ? (1 - t[j]) / count : static_cast<REAL>(0);
        dy[j] = (other - t[j]) * factor;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    generalized_cross_entropy(const REAL* __restrict__ p, const int* __restrict__ labels, REAL* __restrict__ losses,
                              REAL q, Index rows, Index classes) {
    const Index row = global_thread();
    if (row < rows) losses[row] = (1 - pow(p[row * classes + labels[row]], q)) / q;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    generalized_cross_entropy_gradient(const REAL* __restrict__ p, const int* __restrict__ labels,
                                       const REAL* __restrict__ scale, REAL* __restrict__ dp, REAL q, Index per_row,
                                       Index rows, Index classes) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;
    p += row * classes;
    dp += row * classes;
    for (Index j = threadIdx.x % WARP; j < classes; j += WARP) {
        dp[j] = j == labels[row] ? -scale[per_row == 0 ? 0 : row] * pow(p[j], q - 1) : static_cast<REAL>(0);
    }
}
