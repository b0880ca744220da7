// Rows of an array (outer, columns, inner) along its middle axis, which one warp each works on.
//
// Element j of row `row` = o inner + n is [o, j, n]: it lies j * inner behind the row's first one.
#include "common.cuh"
#include "reduce.cuh"

// Offset of the first element of a row.
__device__ inline Index row_start(Index row, Index columns, Index inner) {
    const Index outer = row / inner;  // row = outer * inner + n, the start is outer * columns * inner + n
    return outer * (columns - 1) * inner + row;
}
