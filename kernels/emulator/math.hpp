// CUDA's mathematical functions, each for float and for double, from the compiler's builtins.
#pragma once

#define EMULATOR_MATH_1(name)                                           \
    inline float name(float x) { return __builtin_##name##f(x); }       \
    inline double name(double x) { return __builtin_##name(x); }
#define EMULATOR_MATH_2(name)                                                         \
    inline float name(float x, float y) { return __builtin_##name##f(x, y); }         \
    inline double name(double x, double y) { return __builtin_##name(x, y); }
#define EMULATOR_MATH_3(name)                                                                       \
    inline float name(float x, float y, float z) { return __builtin_##name##f(x, y, z); }           \
    inline double name(double x, double y, double z) { return __builtin_##name(x, y, z); }
#define EMULATOR_MIN_MAX(type)                                          \
    inline type min(type a, type b) { return b < a ? b : a; }           \
    inline type max(type a, type b) { return a < b ? b : a; }

// The C library declares the double versions as extern "C" functions of the same name, and the compiler knows them;
// a namespace of our own keeps ours apart from those, and `using` brings them back.
namespace emulator_math {
EMULATOR_MATH_1(exp)
EMULATOR_MATH_1(expm1)
EMULATOR_MATH_1(log)
EMULATOR_MATH_1(log1p)
EMULATOR_MATH_1(log2)
EMULATOR_MATH_1(exp2)
EMULATOR_MATH_1(tanh)
EMULATOR_MATH_1(sin)
EMULATOR_MATH_1(cos)
EMULATOR_MATH_1(erf)
EMULATOR_MATH_1(erfc)
EMULATOR_MATH_1(sqrt)
EMULATOR_MATH_1(fabs)
EMULATOR_MATH_1(floor)
EMULATOR_MATH_1(ceil)
EMULATOR_MATH_1(rint)
EMULATOR_MATH_2(pow)
EMULATOR_MATH_2(fmin)
EMULATOR_MATH_2(fmax)
EMULATOR_MATH_2(copysign)
EMULATOR_MATH_3(fma)
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
inline float min(float a, float b) { return fmin(a, b); }
inline float max(float a, float b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }

// The upper 64 bits of the 128-bit product.
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
} // namespace emulator_math
using namespace emulator_math;

#undef EMULATOR_MATH_1
#undef EMULATOR_MATH_2
#undef EMULATOR_MATH_3
#undef EMULATOR_MIN_MAX
