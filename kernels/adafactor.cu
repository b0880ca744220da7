// Adafactor (Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost"), in Keras's form: the
// mean squares of a matrix are kept as those of its rows and columns.
//
// Math:     with q = g^2 + epsilon_1, old = factors[1], new = factors[2], s of element (l, i, j):
//           adafactor_rows:    r[l, i] = old r[l, i] + new (mean of q over j)
//           adafactor_columns: c[l, j] = old c[l, j] + new (mean of q over i)
//           adafactor_means:   means[l] = mean of r[l, i] over i
//           adafactor_scaled:  g = s = g / sqrt(max((r[l, i] / means[l]) c[l, j], epsilon_1)), or, where means is null,
//                              g = s = g / sqrt(v), v = old v + new q;  squares[b] = sums over block b of w^2 and of s^2
//           adafactor_factor:  factor = max(epsilon_2, rms(w)) factors[0] / max(1, rms(s) / threshold)
//           adafactor:         w -= factor s
// Layout:   w, g, v (lead, rows, columns) or any shape of n elements; r (lead, rows), c (lead, columns), means (lead);
//           squares (blocks, 2); factors (3) in double, in device memory, so that a captured graph need not change
// Launch:   adafactor_rows a warp a row, THREADS / 32 of them a block; adafactor_columns blocks of GROUPS x LANES threads
//           on GROUPS columns, y along the rows; adafactor_means a block per l; adafactor_factor one block; else a thread
//           per element
// Memory:   g is read three times and written once, w read twice and written once
// Edges:    any size >= 1; threads past an end bring 0 to the sums
// Numerics: sums are in double, in an order that depends on the sizes alone; every operation on an element is rounded by
//           itself, as NumPy does
// Cost:     16 operations per element, a root and two divisions among them; bound by memory
#include "common.cuh"
#include "greater.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_rows(const REAL* __restrict__ g, REAL* __restrict__ r, const double* __restrict__ factors,
                   REAL epsilon_1, Index rows, Index columns) {
    const Index row = static_cast<Index>(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    double sum = 0;
    if (row < rows) {
#pragma unroll 1
        for (Index j = threadIdx.x % WARP; j < columns; j += WARP) {
            const REAL value = g[row * columns + j];
            sum += value * value + epsilon_1;
        }
    }
    sum = warp_sum(sum);
    if (row < rows && threadIdx.x % WARP == 0) {
        const REAL mean = static_cast<REAL>(sum / static_cast<double>(columns));
        r[row] = r[row] * static_cast<REAL>(factors[1]) + mean * static_cast<REAL>(factors[2]);
    }
}

extern "C" __global__ void __launch_bounds__(GROUPS * LANES)
    adafactor_columns(const REAL* __restrict__ g, REAL* __restrict__ c, const double* __restrict__ factors,
                      REAL epsilon_1, Index rows, Index columns) {
    __shared__ double sums[LANES][GROUPS];
    const Index groups = ceil_div(columns, GROUPS);
    const Index l = blockIdx.x / groups, j = blockIdx.x % groups * GROUPS + threadIdx.x;
    double sum = 0;
    if (j < columns) {
#pragma unroll 1
        for (Index i = threadIdx.y; i < rows; i += LANES) {
            const REAL value = g[(l * rows + i) * columns + j];
            sum += value * value + epsilon_1;
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || j >= columns) return;
    sum = 0;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) sum += sums[lane][threadIdx.x];
    const REAL mean = static_cast<REAL>(sum / static_cast<double>(rows));
    c[l * columns + j] =
        c[l * columns + j] * static_cast<REAL>(factors[1]) + mean * static_cast<REAL>(factors[2]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_means(const REAL* __restrict__ r, REAL* __restrict__ means, Index rows) {
    __shared__ double shared[THREADS / WARP];
    double sum = 0;
#pragma unroll 1
    for (Index i = threadIdx.x; i < rows; i += THREADS) sum += r[blockIdx.x * rows + i];
    sum = block_sum<THREADS>(sum, shared);
    if (threadIdx.x == 0) means[blockIdx.x] = static_cast<REAL>(sum / static_cast<double>(rows));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_scaled(const REAL* __restrict__ w, REAL* __restrict__ g, REAL* __restrict__ v,
                     const REAL* __restrict__ c, const REAL* __restrict__ means, const double* __restrict__ factors,
                     double* __restrict__ squares, REAL epsilon_1, Index rows, Index columns, Index n) {
    __shared__ double shared[THREADS / WARP];
    const Index i = global_thread();
    double of_w = 0, of_s = 0;
    if (i < n) {
        REAL square;
        if (means == nullptr) {
            v[i] = square = v[i] * static_cast<REAL>(factors[1]) +
                            (g[i] * g[i] + epsilon_1) * static_cast<REAL>(factors[2]);
        } else {
            const Index row = i / columns, l = row / rows;
            square = greater(v[row] / means[l] * c[l * columns + i % columns], epsilon_1);
        }
        const REAL s = g[i] / sqrt(square);
        g[i] = s;
        of_w = static_cast<double>(w[i]) * w[i];
        of_s = static_cast<double>(s) * s;
    }
    of_w = block_sum<THREADS>(of_w, shared);
    of_s = block_sum<THREADS>(of_s, shared);
    if (threadIdx.x == 0) {
        squares[2 * blockIdx.x] = of_w;
        squares[2 * blockIdx.x + 1] = of_s;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_factor(const double* __restrict__ squares, const double* __restrict__ factors,
                     REAL* __restrict__ factor, REAL epsilon_2, REAL threshold, Index blocks, Index n) {
    __shared__ double shared[THREADS / WARP];
    double of_w = 0, of_s = 0;
#pragma unroll 1
    for (Index b = threadIdx.x; b < blocks; b += THREADS) {
        of_w += squares[2 * b];
        of_s += squares[2 * b + 1];
    }
    of_w = block_sum<THREADS>(of_w, shared);
    of_s = block_sum<THREADS>(of_s, shared);
    if (threadIdx.x != 0) return;
    const REAL size_w = static_cast<REAL>(sqrt(of_w / static_cast<double>(n)));
    const REAL size_s = static_cast<REAL>(sqrt(of_s / static_cast<double>(n)));
    factor[0] = greater(epsilon_2, size_w) * static_cast<REAL>(factors[0]) / greater(REAL(1), size_s / threshold);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor(REAL* __restrict__ w, const REAL* __restrict__ s, const REAL* __restrict__ factor, Index n) {
    const Index i = global_thread();
    if (i < n) w[i] -= s[i] * factor[0];
}
