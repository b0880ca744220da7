// Standard normal numbers from uniform ones, with the same bits everywhere: only sums, products, quotients and square
// roots of floats, each of which is rounded exactly, in the order of gpunet/ops/normal.py.
//
// A draw k of 24 bits stands for the probability p = (k + 1/2) 2^-24, and z for the number below which a standard
// normal one is with that probability: M. J. Wichura, "Algorithm AS 241: the percentage points of the normal
// distribution", Applied Statistics 37 (1988), 477-484, routine PPND7, right to six digits here. Its logarithm is that of
// the power of two by counting, and of the rest by the series of the inverse hyperbolic tangent.

// Constants are rounded to float from double, as NumPy does.
__device__ constexpr float number(double value) { return static_cast<float>(value); }

// -log(n 2^-25) for n from 1 to 2^24.
__device__ inline float minus_log(float n) {
    float v = n * number(0x1p-25), halvings = 0;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        const float power = static_cast<float>(1 << step);
        if (v * power < 1) {
            v *= power;
            halvings += static_cast<float>(step);
        }
    }
    // v is from 1/2 to below 1
    if (v < number(0.70710678118654752)) {
        v *= 2;
        halvings += 1;
    }
    const float s = (v - 1) / (v + 1), w = s * s;
    const float series = 1 + w * (number(1.0 / 3) + w * (number(1.0 / 5) + w * (number(1.0 / 7) + w * number(1.0 / 9))));
    return halvings * number(0.69314718055994531) - 2 * s * series;
}

// The standard normal number of draw `k`, from 0 to 2^24 - 1.
__device__ inline float normal_number(int k) {
    const int t = 2 * k + 1 - (1 << 24);  // 2^25 (p - 1/2), odd
    const float q = static_cast<float>(t) * number(0x1p-25);
    if (fabs(q) <= number(0.425)) {
        const float r = number(0.180625) - q * q;
        const float above = ((number(59.109374720) * r + number(159.29113202)) * r + number(50.434271938)) * r;
        const float below = ((number(67.187563600) * r + number(78.757757664)) * r + number(17.895169469)) * r;
        return q * (above + number(3.3871327179)) / (below + 1);
    }
    const float n = static_cast<float>((1 << 24) - (t < 0 ? -t : t));  // 2^25 min(p, 1 - p)
    const float r = sqrt(minus_log(n)) - number(1.6);
    const float above = ((number(0.17023821103) * r + number(1.3067284816)) * r + number(2.7568153900)) * r;
    const float below = (number(0.12021132975) * r + number(0.73700164250)) * r;
    const float z = (above + number(1.4234372777)) / (below + 1);
    return t < 0 ? -z : z;
}
