// The place of the maximum of a row, found by a warp, as numpy.argmax has it. Include reduce.cuh before.

// Whether element `a` at index i comes before element `b` at index j in the search for the maximum.
__device__ inline bool beats(REAL a, Index i, REAL b, Index j) {
    const bool a_is_nan = a != a, b_is_nan = b != b;
    if (a_is_nan != b_is_nan) return a_is_nan;
    return a > b || ((a == b || a_is_nan) && i < j);
}

// Index of the maximum of a row, the same in every lane of the warp.
__device__ inline Index argmax(const REAL* y, Index classes, int lane) {
    Index best = lane < classes ? lane : 0;  // lanes without an element look at element 0, which another lane holds too
    for (Index j = lane + WARP; j < classes; j += WARP) {
        if (beats(y[j], j, y[best], best)) best = j;
    }
    REAL top = y[best];
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        const REAL other_top = __shfl_xor_sync(ALL_LANES, top, apart);
        const Index other = __shfl_xor_sync(ALL_LANES, best, apart);
        if (beats(other_top, other, top, best)) {
            top = other_top;
            best = other;
        }
    }
    return best;
}
