// base^exponent for exponent >= 0 by repeated squaring; REAL must be double.
__device__ inline REAL power(REAL base, Index exponent) {
    REAL result = 1;
    for (; exponent > 0; exponent /= 2) {
        if (exponent % 2 == 1) result *= base;
        base *= base;
    }
    return result;
}
