// Embedding: the rows of a table, by index, and by which keys its gradient is added up (scatter.cu).
//
// Math:     y[i, c] = table[k, c] with k = x[i] without its fraction;  keys[i] = k
// Layout:   x (m) of REAL, table (rows, width), y (m, width), n = m width elements; keys (m) in int
// Launch:   embedding: one thread per element of y; embedding_keys: one per index
// Memory:   y written once, coalesced, as are the rows that are read
// Edges:    m, rows, width >= 1; rows below 2^31. An index below 0 or not below rows, and NaN, reads nothing: its row of
//           y is NaN, which shows, and its key is `rows`, which adds nothing
// Numerics: exact: what REAL can count without gaps, the host sees to
// Cost:     one division per element
#include "common.cuh"

__device__ inline int key_of(REAL index, Index rows) {
    const bool valid = index > REAL(-1) && index < static_cast<REAL>(rows);
    return valid ? static_cast<int>(index) : static_cast<int>(rows);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    embedding(const REAL* __restrict__ x, const REAL* __restrict__ table, REAL* __restrict__ y, Index n, Index rows,
              Index width, REAL infinity) {
    const Index i = global_thread();
    if (i >= n) return;
    const Index position = i / width;
    const Index key = key_of(x[position], rows);
    y[i] = key < rows ? table[key * width + (i - position * width)] : infinity - infinity;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    embedding_keys(const REAL* __restrict__ x, int* __restrict__ keys, Index m, Index rows) {
    const Index i = global_thread();
    if (i < m) keys[i] = key_of(x[i], rows);
}
