// What Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") does to matrices beside
// multiplying them, in Keras's form.
//
// Math:     muon_momentum: m[i] += g[i] + m[i] (momentum - 1);  x[i] = g[i] + momentum m[i] (`nesterov`) or m[i];
//                          squares[b] = sum over block b of x[i]^2
//           muon_factor:   factor = 1 / (sqrt(sum of squares) + 1e-7)
//           combine:       y[i] = a x[i] + b y[i]
//           muon:          w[i] -= (r x[i]) factor;  r = learning_rate[0], rounded to REAL
// Layout:   vectors of n elements, whatever shape they have outside; squares (blocks), learning_rate (1) in double, in
//           device memory, so that a captured graph need not change; factor (1)
// Launch:   one thread per element; muon_factor one block
// Memory:   5n, 3n and 3n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing, or add zero
// Numerics: every operation on an element is rounded by itself, as NumPy does; squares are added in double, in an order
//           that depends on n alone
// Cost:     3 to 7 operations per element; bound by memory
#include "common.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    muon_momentum(const REAL* __restrict__ g, REAL* __restrict__ m, REAL* __restrict__ x,
                  double* __restrict__ squares, REAL momentum, REAL loss, Index nesterov, Index n) {
    __shared__ double shared[THREADS / WARP];
    const Index i = global_thread();
    double square = 0;
    if (i < n) {
        const REAL mean = m[i] + (g[i] + m[i] * loss);
        const REAL value = nesterov ? g[i] + mean * momentum : mean;
        m[i] = mean;
        x[i] = value;
        square = static_cast<double>(value) * value;
    }
    square = block_sum<THREADS>(square, shared);
    if (threadIdx.x == 0) squares[blockIdx.x] = square;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    muon_factor(const double* __restrict__ squares, REAL* __restrict__ factor, Index blocks) {
    __shared__ double shared[THREADS / WARP];
    double sum = 0;
#pragma unroll 1
    for (Index b = threadIdx.x; b < blocks; b += THREADS) sum += squares[b];
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0) factor[0] = 1 / (static_cast<REAL>(sqrt(sum)) + static_cast<REAL>(1e-7));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    combine(const REAL* __restrict__ x, REAL* __restrict__ y, REAL a, REAL b, Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = x[i] * a + y[i] * b;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    muon(REAL* __restrict__ w, const REAL* __restrict__ x, const double* __restrict__ learning_rate, REAL factor,
         Index n) {
    const Index i = global_thread();
    if (i < n) w[i] -= x[i] * static_cast<REAL>(learning_rate[0]) * factor;
}
