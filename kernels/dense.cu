// Dense: a matrix product with bias and activation, and its two gradients with the activation's gradient and the bias's
// gradient in the same kernels.
//
// Math:     dense                  y = f(x w + b); saved = x w + b where f' needs it; dropping.cuh may drop
//                                  elements of y
//           dense_input_gradient   dx = dz w^T,  dz = scale dy f'(z), scale 1 but for dropping
//           dense_kernel_gradient  dw = x^T dz,  db = sum of dz over its rows
// Layout:   x, dx (m, k); w, dw (k, n); b, db (n); y, dy, saved (m, n); all row by row. `partial` is the workspace of a
//           split sum, one output (for dense_kernel_gradient dw and db behind each other) per split; null if there is
//           one split only, and the outputs are null else.
// Launch:   THREADS a block, a block per tile of BM x BN outputs and split: grid (tiles, 1, splits). A multiprocessor
//           holds MOST_BLOCKS at least (loader.cuh); FEWER_BLOCKS where elements move one by one or are
//           dropped, or activations differentiated as they are read, and before compute capability 8.0
// Memory:   tiles of A and B go through shared memory; an input element is read once per tile of the other operand's
//           lines: x n / BN times, w m / BM times; 16 bytes at once where rows have a multiple of them
// Edges:    any m, n, k >= 1; loaders give 0 outside, outputs outside are not stored. b, saved, db may be null.
// Numerics: fma in chunks of CHUNK (gemm.cuh); splits are added in order by finish.cu; no atomics: the same bits at
//           every run
// Cost:     2 m n k flop each; at least 4 (m k + k n + m n) bytes for float
#include "layer.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, FORWARD_BLOCKS)
    dense(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b, REAL* __restrict__ y,
          REAL* __restrict__ saved, REAL* __restrict__ partial, Index m, Index n, Index k, DROPPING) {
    __shared__ Tiles tiles;
    const bool is_split = partial != nullptr;
    const Part part(n, k);
    const Matrix<true, A_WIDTH, Plain> x_rows{{x}, m, k, k, 0};
    const Matrix<false, B_WIDTH, Plain> w_columns{{w}, n, k, n, 0};
    const Output out{is_split ? partial + blockIdx.z * m * n : y, m, n, n};
    gemm(tiles, part, x_rows, w_columns, out, nullptr, BiasActivation{b, saved, is_split, THIS_DROPPING});
}

// Here the product's sizes are (m, k) = (m, n) (n, k): the sum is over the outputs n.
extern "C" __global__ void __launch_bounds__(THREADS, GRADIENT_BLOCKS)
    dense_input_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ saved, const REAL* __restrict__ w,
                         REAL* __restrict__ dx, REAL* __restrict__ partial, Index m, Index n, Index k, REAL scale) {
    __shared__ Tiles tiles;
    const Part part(k, n);
    const Matrix<true, A_WIDTH, OutputGradient> dz_rows{{dy, saved, scale}, m, n, n, 0};
    const Matrix<true, B_WIDTH, Plain> w_rows{{w}, k, n, n, 0};
    const Output out{partial != nullptr ? partial + blockIdx.z * m * k : dx, m, k, k};
    gemm(tiles, part, dz_rows, w_rows, out, nullptr, Store{});
}

// Here they are (k, n) = (k, m) (m, n): the sum is over the rows m.
extern "C" __global__ void __launch_bounds__(THREADS, GRADIENT_BLOCKS)
    dense_kernel_gradient(const REAL* __restrict__ x, const REAL* __restrict__ dy, const REAL* __restrict__ saved,
                          REAL* __restrict__ dw, REAL* __restrict__ db, REAL* __restrict__ partial, Index with_bias,
                          Index m, Index n, Index k, REAL scale) {
    __shared__ Tiles tiles;
    const Part part(n, m);
    const Matrix<false, A_WIDTH, Plain> x_columns{{x}, k, m, k, 0};
    const Matrix<false, B_WIDTH, OutputGradient> dz_columns{{dy, saved, scale}, n, m, n, 0};
    REAL* const dw_sums = partial != nullptr ? partial + blockIdx.z * (k * n + (with_bias ? n : 0)) : dw;
    REAL* const db_sums = partial != nullptr ? dw_sums + k * n : db;
    const Output out{dw_sums, k, n, n};
    gemm(tiles, part, x_columns, dz_columns, out, with_bias ? db_sums : nullptr, Store{});
}
