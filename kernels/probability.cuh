// Probabilities that a logarithm is taken of, clipped as Keras does: to EPSILON at least and 1 - EPSILON at most.
//
// Between the bounds, both included, the clipped value follows the probability; outside its derivative is 0. NaN stays.
constexpr REAL EPSILON = static_cast<REAL>(1e-7);
constexpr REAL CEILING = static_cast<REAL>(1 - 1e-7);

__device__ inline REAL clip(REAL q) { return q < EPSILON ? EPSILON : (q > CEILING ? CEILING : q); }

__device__ inline bool is_clipped(REAL q) { return q < EPSILON || q > CEILING; }
