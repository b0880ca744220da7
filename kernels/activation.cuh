// Activations y = f(z) and dz = dy f'(z), for element-wise kernels and for the epilogues and loaders of gemm.cuh.
//
// ACTIVATION is the code of gpunet/ops/activation.py's Activation, in this order. `saved` is what the forward pass kept
// for the gradient: the output y, from which f' follows, or the input z for GELU and SILU. The same formulas, for
// NumPy, are in gpunet/ops/activation.py.
#include "common.cuh"

constexpr int LINEAR = 0;
constexpr int RELU = 1;
constexpr int LEAKY_RELU = 2;
constexpr int SIGMOID = 3;
constexpr int TANH = 4;
constexpr int ELU = 5;
constexpr int GELU = 6;
constexpr int SILU = 7;
constexpr int SOFTPLUS = 8;
static_assert(ACTIVATION >= LINEAR && ACTIVATION <= SOFTPLUS, "ACTIVATION is not a code of Activation");

constexpr bool SAVES_INPUT = ACTIVATION == GELU || ACTIVATION == SILU;
constexpr REAL LEAKY_SLOPE = REAL(0.2);

// For z << 0 exp(-z) is infinite and the quotient 0, as it must be.
__device__ inline REAL sigmoid(REAL z) { return 1 / (1 + exp(-z)); }

// Probability that a standard normal number is below z.
__device__ inline REAL normal_distribution(REAL z) { return REAL(0.5) * (1 + erf(z * REAL(0.70710678118654752))); }

__device__ inline REAL normal_density(REAL z) { return REAL(0.39894228040143268) * exp(REAL(-0.5) * z * z); }

// f(z). Comparisons are written so that a NaN stays one.
__device__ inline REAL activation(REAL z) {
    if constexpr (ACTIVATION == RELU) return z <= 0 ? REAL(0) : z;
    if constexpr (ACTIVATION == LEAKY_RELU) return z <= 0 ? LEAKY_SLOPE * z : z;
    if constexpr (ACTIVATION == SIGMOID) return sigmoid(z);
    if constexpr (ACTIVATION == TANH) return tanh(z);
    if constexpr (ACTIVATION == ELU) return z <= 0 ? expm1(z) : z;
    if constexpr (ACTIVATION == GELU) return z * normal_distribution(z);
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
    if constexpr (ACTIVATION == SILU) {
        const REAL s = sigmoid(saved);
        return dy * (s * (1 + saved * (1 - s)));
    }
    if constexpr (ACTIVATION == SOFTPLUS) return dy * -expm1(-saved);  // sigmoid(z) = 1 - exp(-y)
    return dy;
}
