// Element-wise activations that no matrix product applies by itself, and their gradients.
//
// Math:     pointwise: y[i] = f(x[i]);  pointwise_gradient: dx[i] = dy[i] f'(x[i]); FUNCTION says which f, a and b are
//           its arguments (SQUAREPLUS: a is the root of Keras's b)
// Layout:   vectors of n elements, whatever shape they have outside
// Launch:   one thread per element, THREADS a block
// Memory:   2n and 3n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing; a NaN stays one in y
// Numerics: no finite x overflows where f(x) does not, and no digits cancel; where f has no exponential the bits are
//           NumPy's
// Cost:     up to 40 flop an element, for TANH_SHRINK, fewer than the memory's time allows in float
#include "common.cuh"

// The codes of gpunet/ops/pointwise.py's Pointwise, in this order.
constexpr int SELU = 0;
constexpr int SOFTSIGN = 1;
constexpr int HARD_SIGMOID = 2;
constexpr int HARD_SILU = 3;
constexpr int HARD_TANH = 4;
constexpr int TANH_SHRINK = 5;
constexpr int HARD_SHRINK = 6;
constexpr int SOFT_SHRINK = 7;
constexpr int SQUAREPLUS = 8;
constexpr int SPARSE_PLUS = 9;
constexpr int SPARSE_SIGMOID = 10;
constexpr int MISH = 11;
constexpr int CELU = 12;
constexpr int LOG_SIGMOID = 13;
constexpr int EXPONENTIAL = 14;
constexpr int THRESHOLD = 15;
static_assert(FUNCTION >= SELU && FUNCTION <= THRESHOLD, "FUNCTION is not a code of Pointwise");

constexpr REAL SELU_ALPHA = REAL(1.6732632423543772848);
constexpr REAL SELU_SCALE = REAL(1.0507009873554804934);
constexpr int FRACTIONS = 9;  // of TANH_SHRINK: its last one is below a rounding of double

// Comparisons are written so that a NaN stays one.
__device__ inline REAL clamp(REAL x, REAL low, REAL high) { return x < low ? low : (x > high ? high : x); }

// x - tanh(x). Near 0 the two are nearly equal: there it is x t / (1 + t), t from Lambert's continued fraction
// tanh(x) = x / (1 + t), t = x^2 / (3 + x^2 / (5 + ...)).
__device__ inline REAL tanh_shrink(REAL x) {
    if (fabs(x) > 1) return x - tanh(x);
    const REAL square = x * x;
    REAL t = REAL(2 * FRACTIONS + 1);
#pragma unroll
    for (int k = 2 * FRACTIONS - 1; k > 1; k -= 2) t = k + square / t;
    t = square / t;
    return x * t / (1 + t);
}

// sqrt(x^2 + a^2), without a square that overflows.
__device__ inline REAL length(REAL x, REAL a) {
    const REAL size = fabs(x), larger = size < a ? a : size, smaller = size < a ? size : a;
    if (larger == 0) return 0;
    const REAL share = smaller / larger;
    return larger * sqrt(1 + share * share);
}

// exp(x) (exp(x) + 2) where it makes a difference to MISH: tanh(log(1 + exp(x))) = w / (w + 2).
__device__ inline REAL mish_exponential(REAL x) { return exp(x > 40 ? REAL(40) : x); }

__device__ inline REAL value(REAL x, REAL a, REAL b) {
    if constexpr (FUNCTION == SELU) return SELU_SCALE * (x <= 0 ? SELU_ALPHA * expm1(x) : x);
    if constexpr (FUNCTION == SOFTSIGN) return x / (1 + fabs(x));
    if constexpr (FUNCTION == HARD_SIGMOID) return clamp(x + 3, 0, 6) / 6;
    if constexpr (FUNCTION == HARD_SILU) return x * (clamp(x + 3, 0, 6) / 6);
    if constexpr (FUNCTION == HARD_TANH) return clamp(x, -1, 1);
    if constexpr (FUNCTION == TANH_SHRINK) return tanh_shrink(x);
    if constexpr (FUNCTION == HARD_SHRINK) return fabs(x) <= a ? REAL(0) : x;
    if constexpr (FUNCTION == SOFT_SHRINK) return x > a ? x - a : (x >= -a ? REAL(0) : x + a);
    if constexpr (FUNCTION == SQUAREPLUS) {
        const REAL root = length(x, a);
        return x < 0 ? a * (a / (root - x)) / 2 : (x + root) / 2;
    }
    if constexpr (FUNCTION == SPARSE_PLUS) return x <= -1 ? REAL(0) : (x < 1 ? (x + 1) * (x + 1) / 4 : x);
    if constexpr (FUNCTION == SPARSE_SIGMOID) return clamp((x + 1) / 2, 0, 1);
    if constexpr (FUNCTION == MISH) {
        const REAL e = mish_exponential(x), w = e * (e + 2);
        return x * (w / (w + 2));
    }
    if constexpr (FUNCTION == CELU) return x <= 0 ? a * expm1(x / a) : x;
    if constexpr (FUNCTION == LOG_SIGMOID) return (x > 0 ? REAL(0) : x) - log1p(exp(-fabs(x)));
    if constexpr (FUNCTION == EXPONENTIAL) return exp(x);
    return x <= a ? b : x;  // THRESHOLD
}

__device__ inline REAL slope(REAL x, REAL a) {
    if constexpr (FUNCTION == SELU) return SELU_SCALE * (x <= 0 ? SELU_ALPHA * exp(x) : REAL(1));
    if constexpr (FUNCTION == SOFTSIGN) {
        const REAL share = 1 / (1 + fabs(x));
        return share * share;
    }
    if constexpr (FUNCTION == HARD_SIGMOID) return fabs(x) < 3 ? REAL(1) / 6 : REAL(0);
    if constexpr (FUNCTION == HARD_SILU) return x <= -3 ? REAL(0) : (x < 3 ? (2 * x + 3) / 6 : REAL(1));
    if constexpr (FUNCTION == HARD_TANH) return fabs(x) < 1 ? REAL(1) : REAL(0);
    if constexpr (FUNCTION == TANH_SHRINK) {
        const REAL t = tanh(x);
        return t * t;
    }
    if constexpr (FUNCTION == HARD_SHRINK || FUNCTION == SOFT_SHRINK) return fabs(x) <= a ? REAL(0) : REAL(1);
    if constexpr (FUNCTION == SQUAREPLUS) {
        const REAL root = length(x, a);
        if (root == 0) return REAL(0.5);
        return x < 0 ? a / root * (a / (root - x)) / 2 : (1 + x / root) / 2;
    }
    if constexpr (FUNCTION == SPARSE_PLUS) return clamp((x + 1) / 2, 0, 1);
    if constexpr (FUNCTION == SPARSE_SIGMOID) return fabs(x) < 1 ? REAL(0.5) : REAL(0);
    if constexpr (FUNCTION == MISH) {
        const REAL e = mish_exponential(x), w = e * (e + 2);
        return w / (w + 2) + x * ((e + 1) / (w + 2)) * (4 * e / (w + 2));
    }
    if constexpr (FUNCTION == CELU) return x <= 0 ? exp(x / a) : REAL(1);
    if constexpr (FUNCTION == LOG_SIGMOID) return (x > 0 ? exp(-x) : REAL(1)) / (1 + exp(-fabs(x)));
    if constexpr (FUNCTION == EXPONENTIAL) return exp(x);
    return x <= a ? REAL(0) : REAL(1);  // THRESHOLD
}

extern "C" __global__ void __launch_bounds__(THREADS)
    pointwise(const REAL* __restrict__ x, REAL* __restrict__ y, REAL a, REAL b, Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = value(x[i], a, b);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    pointwise_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ x, REAL* __restrict__ dx, REAL a,
                       Index n) {
    const Index i = global_thread();
    if (i < n) dx[i] = dy[i] * slope(x[i], a);
}
