// The gradients of a bias and an activation that end an op, for one that cannot compute dz as it reads it.
//
// Math:     dz[i, j] = scale dy[i, j] f'(z[i, j]), where scale is 1 but for dropping;  db[j] = sum over i of dz[i, j]
// Layout:   dy, saved, dz (rows, columns); db (columns); partial (slabs, columns), the sums of slabs of rows, null if
//           there is one slab only; db is null else, and both are if no sums are wanted. dz is null for LINEAR, where it
//           is dy
// Launch:   a block of THREADS takes `lanes` neighbouring columns, a power of two, of `slab` rows; its threads are (lane
//           of rows, column). Blocks are numbered (slab, block of columns)
// Memory:   dy and saved are read once and dz written once; neighbouring threads touch neighbouring columns
// Edges:    any size >= 1; threads past the last column or row bring 0 to the sums
// Numerics: a thread adds at most 512 rows in order, lanes of rows are added pairwise, slabs in order (finish.cu): no
//           atomics, the same bits at every run
// Cost:     the activation's gradient and an addition per element; 12 rows columns bytes for float, 4 for LINEAR
#include "activation.cuh"
#include "dropping.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_gradient(const REAL* __restrict__ dy, const REAL* __restrict__ saved, REAL* __restrict__ dz,
                  REAL* __restrict__ db, REAL* __restrict__ partial, Index rows, Index columns, Index lanes, Index slab,
                  REAL scale) {
    __shared__ REAL shared[THREADS];
    const Index column_blocks = ceil_div(columns, lanes), number = blockIdx.x / column_blocks;
    const int width = static_cast<int>(lanes), height = THREADS / width;
    const int lane = threadIdx.x / width, place = threadIdx.x - lane * width;
    const Index column = (blockIdx.x - number * column_blocks) * lanes + place;
    const Index end = (number + 1) * slab < rows ? (number + 1) * slab : rows;
    REAL sum = 0;
    for (Index row = number * slab + lane; row < end && column < columns; row += height) {
        const Index i = row * columns + column;
        REAL value = dy[i];
        if constexpr (ACTIVATION != LINEAR) {
            value = gradient_before(value, saved[i], scale);
            dz[i] = value;
        }
        sum += value;
    }
    REAL* const target = partial != nullptr ? partial + number * columns : db;
    if (target == nullptr) return;
    for (int half = height / 2; half > 0; half /= 2) {
        shared[threadIdx.x] = sum;
        __syncthreads();
        if (lane < half) sum += shared[threadIdx.x + half * width];
        __syncthreads();
    }
    if (lane == 0 && column < columns) target[column] = sum;
}
