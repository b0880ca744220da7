// Activations y = f(z) and dz = dy f'(z), for element-wise kernels and for the epilogues and loaders of gemm.cuh.
//
// ACTIVATION is the code of gpunet/ops/activation.py's Activation, in this order. `saved` is what the forward pass kept
// for the gradient: the output y, from which f' follows, or the input z for both GELUs and SILU. The same formulas, for
// NumPy, are in gpunet/ops/activation.py.
#include "common.cuh"

constexpr int LINEAR = 0;
constexpr int RELU = 1;
constexpr int LEAKY_RELU = 2;
constexpr int SIGMOID = 3;
constexpr int TANH = 4;
constexpr int ELU = 5;
constexpr int GELU = 6;
constexpr int GELU_TANH = 7;
constexpr int SILU = 8;
constexpr int SOFTPLUS = 9;
static_assert(ACTIVATION >= LINEAR && ACTIVATION <= SOFTPLUS, "ACTIVATION is not a code of Activation");

constexpr bool SAVES_INPUT = ACTIVATION == GELU || ACTIVATION == GELU_TANH || ACTIVATION == SILU;
constexpr REAL LEAKY_SLOPE = REAL(0.2);

// For z << 0 exp(-z) is infinite and the quotient 0, as it must be.
__device__ inline REAL sigmoid(REAL z) { return 1 / (1 + exp(-z)); }

// Probability that a standard normal number is below z.
__device__ inline REAL normal_distribution(REAL z) { return REAL(0.5) * (1 + erf(z * REAL(0.70710678118654752))); }

__device__ inline REAL normal_density(REAL z) { return REAL(0.39894228040143268) * exp(REAL(-0.5) * z * z); }

// GELU's approximation z (1 + tanh(u)) / 2 is z sigmoid(2 u), in which no digits cancel; this is 2 u.
__device__ inline REAL gelu_tanh_argument(REAL z) {
    return REAL(1.5957691216057308) * z * (1 + REAL(0.044715) * z * z);
}

// The slope of 2 u grows as z^2, so that 1 - s, where digits cancel, would not do for sigmoid(-2 u). Beyond 30 one of
// the two is 0 and the slope does not matter: held there, it is finite.
__device__ inline REAL gelu_tanh_derivative(REAL z) {
    const REAL u2 = gelu_tanh_argument(z), s = sigmoid(u2), held = fmin(fmax(z, REAL(-30)), REAL(30));
    return s + held * (s * sigmoid(-u2)) * (REAL(1.5957691216057308) * (1 + REAL(0.134145) * held * held));
}

// f(z). Comparisons are written so that a NaN stays one.
__device__ inline REAL activation(REAL z) {
    if constexpr (ACTIVATION == RELU) return z <= 0 ? REAL(0) : z;
    if constexpr (ACTIVATION == LEAKY_RELU) return z <= 0 ? LEAKY_SLOPE * z : z;
    if constexpr (ACTIVATION == SIGMOID) return sigmoid(z);
    if constexpr (ACTIVATION == TANH) return tanh(z);
    if constexpr (ACTIVATION == ELU) return z <= 0 ? expm1(z) : z;
    if constexpr (ACTIVATION == GELU) return z * normal_distribution(z);
    if constexpr (ACTIVATION == GELU_TANH) return z * sigmoid(gelu_tanh_argument(z));
    if constexpr (ACTIVATION == SILU) return z * sigmoid(z);
    if constexpr (ACTIVATION == SOFTPLUS) return fmax(z, REAL(0)) + log1p(exp(-fabs(z)));
    return z;
}

// dy f'(z). Where the sign of z decides, the sign of y tells it as well.
__device__ inline REAL activation_gradient(REAL dy, REAL saved) {
    if constexpr (ACTIVATION == RELU) return saved > 0 ? dy : REAL(0);
    if constexpr (ACTIVATION == LEAKY_RELU) return saved > 0 ? dy : LEAKY_SLOPE * dy;
    if constexpr (ACTIVATION == SIGMOID) return dy * (saved * (1 - saved));
    if constexpr (ACTIVATION == TANH) return dy * ((1 - saved) * (1 + saved));
    if constexpr (ACTIVATION == ELU) return saved > 0 ? dy : dy * (saved + 1);  // exp(z) = y + 1
    if constexpr (ACTIVATION == GELU) return dy * (normal_distribution(saved) + saved * normal_density(saved));
    if constexpr (ACTIVATION == GELU_TANH) return dy * gelu_tanh_derivative(saved);
    if constexpr (ACTIVATION == SILU) {
        const REAL s = sigmoid(saved);
        return dy * (s * (1 + saved * (1 - s)));
    }
    if constexpr (ACTIVATION == SOFTPLUS) return dy * -expm1(-saved);  // sigmoid(z) = 1 - exp(-y)
    return dy;
}
