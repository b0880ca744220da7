// What a training step needs to be looked at after steps that followed it: a note of the first step in which the loss or
// a gradient was infinite or NaN, and copies of what was there before it.
//
// Math:     note_nonfinite: block b looks at elements b THREADS ... b THREADS + THREADS - 1, and at those gridDim.x
//                           THREADS further on, and so on, of h[i] = g[i] + l1[p] sign(w[i]) + 2 l2[p] w[i]; block 0
//                           at the two numbers of `loss` too. If one is not finite and steps[b] = 0, then
//                           steps[b] = iterations[0] and kinds[b] = kind
//           keep_if:        with iterations: target_k = source_k if iterations[0] is the smallest of steps but for
//                           zeros; without: if all steps are 0. So many launches before an update keep what was there
//                           at the first step that was noted, and one at the beginning of each step too
// Layout:   w, g (n), parameters side by side in blocks of OWNED elements; owners (n / OWNED) is p for each; l1, l2
//           (parameters), null where all are 0; loss (2), null for none; steps, kinds (THREADS); iterations (1), in
//           device memory, so that a captured graph notes the right step. source_k, target_k (n_k) for k = 0, 1, 2, 3,
//           in words of 4 bytes
// Launch:   THREADS a block. note_nonfinite: at most THREADS blocks; keep_if: the blocks of grid row k share source_k
//           out among them
// Memory:   note_nonfinite reads n elements, 2n with penalties; keep_if reads THREADS numbers a block and, hardly ever,
//           copies. Neighbouring threads touch neighbouring elements
// Edges:    n, n_k >= 1 where there is a grid row k; targets keep what they have where nothing is copied
// Numerics: x - x is 0 for a finite x and NaN for all others. Each block notes in a place of its own, so that nothing
//           depends on their order
// Cost:     2 operations per element, 6 with penalties
#include "common.cuh"
#include "penalty.cuh"
#include "reduce.cuh"

template <typename T>
__device__ inline bool is_finite(T x) {
    return x - x == 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    note_nonfinite(const REAL* __restrict__ w, const REAL* __restrict__ g, const int* __restrict__ owners,
                   const REAL* __restrict__ l1, const REAL* __restrict__ l2, const double* __restrict__ loss,
                   const Index* __restrict__ iterations, Index* __restrict__ steps, Index* __restrict__ kinds,
                   Index kind, Index n) {
    __shared__ Index shared[THREADS / WARP];
    Index found = loss != nullptr && blockIdx.x == 0 && threadIdx.x < 2 && !is_finite(loss[threadIdx.x]);
    for (Index i = global_thread(); i < n; i += static_cast<Index>(gridDim.x) * THREADS) {
        const REAL h = l1 == nullptr ? g[i] : penalized(g[i], w[i], l1, l2, owners[i / OWNED]);
        found += !is_finite(h);
    }
    found = block_sum<THREADS>(found, shared);
    if (threadIdx.x != 0 || found == 0 || steps[blockIdx.x] != 0) return;
    steps[blockIdx.x] = iterations[0];
    kinds[blockIdx.x] = kind;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    keep_if(const Index* __restrict__ steps, const Index* __restrict__ iterations,
            const unsigned int* __restrict__ source_0, unsigned int* __restrict__ target_0, Index n_0,
            const unsigned int* __restrict__ source_1, unsigned int* __restrict__ target_1, Index n_1,
            const unsigned int* __restrict__ source_2, unsigned int* __restrict__ target_2, Index n_2,
            const unsigned int* __restrict__ source_3, unsigned int* __restrict__ target_3, Index n_3) {
    __shared__ Index shared[THREADS / WARP];
    const Index noted = steps[threadIdx.x], now = iterations == nullptr ? 0 : iterations[0];
    const Index earlier = block_sum<THREADS>(static_cast<Index>(noted != 0 && noted != now), shared);
    const Index here = block_sum<THREADS>(static_cast<Index>(noted != 0 && noted == now), shared);
    if (earlier != 0 || (here != 0) != (iterations != nullptr)) return;
    const int k = blockIdx.y;
    const unsigned int* const source = k == 0 ? source_0 : (k == 1 ? source_1 : (k == 2 ? source_2 : source_3));
    unsigned int* const target = k == 0 ? target_0 : (k == 1 ? target_1 : (k == 2 ? target_2 : target_3));
    const Index n = k == 0 ? n_0 : (k == 1 ? n_1 : (k == 2 ? n_2 : n_3));
    for (Index i = global_thread(); i < n; i += static_cast<Index>(gridDim.x) * THREADS) target[i] = source[i];
}
