// The sums over channels between the transforms of winograd.cu.
//
// Math:     m[i] = v[i] u[i] for the places i of a tile's window: m[i,t,n] = sum over k of v[i,t,k] u[i,k,n]
// Layout:   v (places, tiles, k), u (places, k, n), m (places, tiles, n); k are the channels that come in, n those that
//           go out, filters in the forward pass
// Launch:   THREADS a block, a block per tile of BM x BN sums and place: grid (tiles of gemm.cuh, places, 1)
// Memory:   as dense.cu, for each place
// Edges:    any size >= 1
// Numerics: fma in chunks of CHUNK (gemm.cuh), never split; no atomics: the same bits at every run
// Cost:     2 places tiles k n flop; at least 4 places (tiles k + k n + tiles n) bytes for float
#include "layer.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    winograd_products(const REAL* __restrict__ v, const REAL* __restrict__ u, REAL* __restrict__ m, Index tiles_of_y,
                      Index n, Index k) {
    __shared__ Tiles tiles;
    const Index place = blockIdx.y, end = (place + 1) * tiles_of_y;
    // Rows are counted through all places: so the place is in the number of the first row, which takes no register.
    Part part(n, k);
    part.first_m += place * tiles_of_y;
    const Matrix<true, A_WIDTH, Plain> v_rows{{v}, end, k, k, 0};
    const Matrix<false, B_WIDTH, Plain> u_columns{{u}, n, k, n, place * k * n};
    const Output out{m, end, n, n};
    gemm(tiles, part, v_rows, u_columns, out, nullptr, Store{});
}
