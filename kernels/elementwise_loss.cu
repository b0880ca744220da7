// Losses of pairs of numbers, y and its target t, added up over the last axis, and their gradients.
//
// Math:     loss[i] = sum_j f(y[i, j], t[i, j]) / divisor;  dy[i, j] = f'(y[i, j], t[i, j]) scale[i] / divisor
//           t = keep targets + spread; f is one of those below, which are Pair's in gpunet/ops/elementwise_loss.py, in
//           this order
// Layout:   y, targets, dy (rows, columns), row-major; losses (rows); scale (1), or (rows) if it is given per row;
//           shift (2) holds keep and spread instead of the arguments, or is null
// Launch:   the losses one warp per row, THREADS / 32 rows a block; the gradient one thread per element
// Memory:   each array once; neighbouring lanes touch neighbouring elements
// Edges:    rows, columns, divisor >= 1
// Numerics: a lane adds up its columns in order, then the lanes are added pairwise. Which f it is, all threads agree on
// Cost:     up to 3 functions and some 10 operations per element
#include "common.cuh"
#include "probability.cuh"
#include "reduce.cuh"

constexpr int ABSOLUTE = 0;
constexpr int PERCENTAGE = 1;
constexpr int SQUARED_LOGARITHMIC = 2;
constexpr int HUBER = 3;
constexpr int LOG_COSH = 4;
constexpr int POISSON = 5;
constexpr int DIVERGENCE = 6;
constexpr int HINGE = 7;
constexpr int SQUARED_HINGE = 8;
constexpr int FOCAL = 9;

constexpr REAL LOG_2 = static_cast<REAL>(0.69314718055994531);

// -1, 0 or 1, and NaN for NaN.
__device__ inline REAL sign(REAL x) { return x > 0 ? REAL(1) : (x < 0 ? REAL(-1) : x); }

// Comparisons are written so that a NaN stays one.
__device__ inline REAL at_least(REAL x, REAL least) { return x < least ? least : x; }

__device__ inline REAL at_most(REAL x, REAL most) { return x > most ? most : x; }

__device__ inline REAL sigmoid(REAL z) {
    const REAL e = exp(-fabs(z));
    return (z >= 0 ? static_cast<REAL>(1) : e) / (1 + e);
}

// Binary cross-entropy, weighted by w and by how much is missing: w (1 - p)^gamma e, with p the probability of t.
struct Focal {
    REAL missing, weight, entropy, gamma;

    __device__ inline Focal(REAL q, REAL t, REAL gamma, REAL one, REAL zero) : gamma(gamma) {
        const REAL c = clip(q);
        missing = 1 - (t * q + (1 - t) * (1 - q));
        weight = t * one + (1 - t) * zero;
        entropy = -(t * log(c) + (1 - t) * log(1 - c));
    }

    __device__ inline REAL value() const { return weight * (pow(missing, gamma) * entropy); }

    __device__ inline REAL slope(REAL q, REAL t) const {
        REAL sum = is_clipped(q) ? static_cast<REAL>(0) : (q - t) / (q * (1 - q)) * pow(missing, gamma);
        if (gamma != 0) sum += gamma * pow(missing, gamma - 1) * (1 - 2 * t) * entropy;
        return sum * weight;
    }
};

// Which loss it is, and its numbers: `shape` is Huber's delta and gamma of the focal one.
struct Loss {
    Index kind;
    REAL shape, one, zero;

    __device__ inline REAL value(REAL y, REAL t) const {
        const REAL e = y - t;
        switch (kind) {
            case ABSOLUTE: return fabs(e);
            case PERCENTAGE: return 100 * (fabs(e) / at_least(fabs(t), EPSILON));
            case SQUARED_LOGARITHMIC: {
                const REAL error = log1p(at_least(y, EPSILON)) - log1p(at_least(t, EPSILON));
                return error * error;
            }
            case HUBER:
                return fabs(e) <= shape ? REAL(0.5) * (e * e) : shape * fabs(e) - REAL(0.5) * (shape * shape);
            case LOG_COSH: return fabs(e) + log1p(exp(-2 * fabs(e))) - LOG_2;
            case POISSON: return y - t * log(y + EPSILON);
            case DIVERGENCE: {
                const REAL p = at_most(at_least(t, EPSILON), 1);
                return p * log(p / at_most(at_least(y, EPSILON), 1));
            }
            case HINGE: return at_least(1 - t * y, 0);
            case SQUARED_HINGE: {
                const REAL margin = at_least(1 - t * y, 0);
                return margin * margin;
            }
            case FOCAL: return Focal(y, t, shape, one, zero).value();
            default: return Focal(sigmoid(y), t, shape, one, zero).value();
        }
    }

    __device__ inline REAL slope(REAL y, REAL t) const {
        const REAL e = y - t;
        switch (kind) {
            case ABSOLUTE: return sign(e);
            case PERCENTAGE: return sign(e) * (100 / at_least(fabs(t), EPSILON));
            case SQUARED_LOGARITHMIC: {
                const REAL error = log1p(at_least(y, EPSILON)) - log1p(at_least(t, EPSILON));
                return y < EPSILON ? static_cast<REAL>(0) : 2 * error / (1 + y);
            }
            case HUBER: return at_most(at_least(e, -shape), shape);
            case LOG_COSH: return tanh(e);
            case POISSON: return 1 - t / (y + EPSILON);
            case DIVERGENCE: return y < EPSILON || y > 1 ? REAL(0) : -at_most(at_least(t, EPSILON), 1) / y;
            case HINGE: return 1 - t * y > 0 ? -t : REAL(0);
            case SQUARED_HINGE: return -2 * t * at_least(1 - t * y, 0);
            case FOCAL: return Focal(y, t, shape, one, zero).slope(y, t);
            default: {
                const REAL q = sigmoid(y);
                return Focal(q, t, shape, one, zero).slope(q, t) * (q * (1 - q));
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    elementwise_loss(const REAL* __restrict__ y, const REAL* __restrict__ targets, REAL* __restrict__ losses,
                     Index kind, REAL shape, REAL one, REAL zero, REAL keep, REAL spread,
                     const REAL* __restrict__ shift, Index divisor, Index rows, Index columns) {
    const Index row = global_thread() / WARP;
    if (row >= rows) return;  // the whole warp leaves together
    const int lane = threadIdx.x % WARP;
    const Loss loss{kind, shape, one, zero};
    const REAL factor = shift == nullptr ? keep : shift[0], summand = shift == nullptr ? spread : shift[1];
    y += row * columns;
    targets += row * columns;
    REAL sum = 0;
    // Not unrolled: every kind would be there several times.
#pragma unroll 1
    for (Index j = lane; j < columns; j += WARP) sum += loss.value(y[j], factor * targets[j] + summand);
    sum = warp_sum(sum);
    if (lane == 0) losses[row] = sum / static_cast<REAL>(divisor);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    elementwise_loss_gradient(const REAL* __restrict__ y, const REAL* __restrict__ targets,
                              const REAL* __restrict__ scale, REAL* __restrict__ dy, Index kind, REAL shape, REAL one,
                              REAL zero, REAL keep, REAL spread, const REAL* __restrict__ shift, Index divisor,
                              Index per_row, Index rows, Index columns) {
    const Index i = global_thread();
    if (i >= rows * columns) return;
    const REAL factor = shift == nullptr ? keep : shift[0], summand = shift == nullptr ? spread : shift[1];
    const REAL slope = Loss{kind, shape, one, zero}.slope(y[i], factor * targets[i] + summand);
    dy[i] = slope * (scale[per_row == 0 ? 0 : i / columns] / static_cast<REAL>(divisor));
}
