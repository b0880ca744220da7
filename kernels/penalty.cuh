// The gradients of penalties on weights, l1 sum |w| + l2 sum w^2, whose factors lie in tables.

// g plus the gradient of the penalty on parameter p; l1 and l2 are null where there are no penalties. sign(0) is 0.
__device__ inline REAL penalized(REAL g, REAL w, const REAL* l1, const REAL* l2, int p) {
    if (l1 == nullptr) return g;
    const REAL sign = w > 0 ? 1 : (w < 0 ? -1 : 0);
    return g + (l1[p] * sign + 2 * l2[p] * w);
}
