// The greater of two numbers, as NumPy's maximum: a NaN if one of them is.
__device__ inline REAL greater(REAL a, REAL b) { return a >= b || a != a ? a : b; }
