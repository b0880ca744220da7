// The learning rate that a schedule gives for a step. Launched with REAL = double.
//
// Math:     s = step[0];  p = s / numbers[1], rounded down if numbers[3] (`staircase`);  f in brackets are numbers
//           EXPONENTIAL  [rate, steps, decay, staircase]: rate decay^p
//           INVERSE_TIME [rate, steps, decay, staircase]: rate / (1 + decay p)
//           POLYNOMIAL   [rate, steps, end, exponent, cycle]: (rate - end) (1 - q)^exponent + end, q = min(s, steps) /
//                        steps, or with `cycle` q = s / (steps max(1, ceil(s / steps)))
//           COSINE       [rate, steps, alpha, target, warmup]: for s < warmup (target - rate) s / warmup + rate, else
//                        target ((1 - alpha) (1 + cos(pi q)) / 2 + alpha), q = min(s - warmup, steps) / steps
//           RESTARTS     [rate, steps, t, m, alpha]: rate ((1 - alpha) m^k (1 + cos(pi q)) / 2 + alpha), where q is how
//                        much of period k is over; period 0 has `steps`, each other t times as many as the one before
//           PIECES       [count, boundaries (count), values (count + 1)]: values[number of boundaries below s]
// Layout:   step (1), numbers, rate (1), in device memory: a captured graph computes its rate by itself
// Launch:   one thread
// Memory:   a few numbers
// Edges:    step >= 0; steps > 0; t >= 1
// Numerics: integer powers by repeated squaring and the cosine by a series, whose operations round alike everywhere: the
//           same bits as on the CPU, but for other powers, the last bits of which may differ
// Cost:     tens of operations, of RESTARTS some for each period that is over, unless t is 1
#include "common.cuh"
#include "power.cuh"

enum Kind : Index { EXPONENTIAL, INVERSE_TIME, POLYNOMIAL, COSINE, RESTARTS, PIECES };

// base^exponent for exponent >= 0: by products where it is an integer.
__device__ inline REAL raised(REAL base, REAL exponent) {
    const REAL whole = floor(exponent);
    return whole == exponent && whole < 9e18 ? power(base, static_cast<Index>(whole)) : pow(base, exponent);
}

// cos(x) for 0 <= x <= pi / 2 by its Taylor series up to x^24, which is exact to rounding.
__device__ inline REAL cosine_series(REAL x) {
    REAL sum = 1;
    for (int k = 24; k > 0; k -= 2) sum = 1 - sum * (x * x) / (k * (k - 1));
    return sum;
}

// cos(pi q) for 0 <= q <= 1.
__device__ inline REAL cosine(REAL q) {
    const REAL pi = 3.141592653589793;
    return q <= 0.5 ? cosine_series(pi * q) : -cosine_series(pi * (1 - q));
}

__device__ inline REAL polynomial(REAL s, const double* numbers) {
    REAL steps = numbers[1];
    if (numbers[4] != 0) {
        steps *= fmax(REAL(1), ceil(s / steps));
    } else {
        s = fmin(s, steps);
    }
    return (numbers[0] - numbers[2]) * raised(1 - s / steps, numbers[3]) + numbers[2];
}

__device__ inline REAL cosine_decay(REAL s, const double* numbers) {
    const REAL steps = numbers[1], alpha = numbers[2], target = numbers[3], warmup = numbers[4];
    if (s < warmup) return (target - numbers[0]) * (s / warmup) + numbers[0];
    const REAL q = fmin(s - warmup, steps) / steps;
    return target * ((1 - alpha) * (0.5 * (1 + cosine(q))) + alpha);
}

__device__ inline REAL restarts(REAL s, const double* numbers) {
    REAL length = numbers[1], start = 0, k = 0;
    const REAL t = numbers[2], m = numbers[3], alpha = numbers[4];
    if (t == 1) {
        k = floor(s / length);
        start = k * length;
    } else {
        for (; s >= start + length; k += 1) {
            start += length;
            length *= t;
        }
    }
    const REAL q = fmax(REAL(0), (s - start) / length);
    return numbers[0] * ((1 - alpha) * (0.5 * raised(m, k) * (1 + cosine(q))) + alpha);
}

__device__ inline REAL pieces(REAL s, const double* numbers) {
    const Index count = static_cast<Index>(numbers[0]);
    Index k = 0;
    while (k < count && s > numbers[1 + k]) ++k;
    return numbers[1 + count + k];
}

__device__ inline REAL decayed(REAL s, const double* numbers, bool exponential) {
    REAL p = s / numbers[1];
    if (numbers[3] != 0) p = floor(p);
    return exponential ? numbers[0] * raised(numbers[2], p) : numbers[0] / (1 + numbers[2] * p);
}

extern "C" __global__ void __launch_bounds__(1)
    scheduled_rate(const Index* __restrict__ step, const double* __restrict__ numbers, double* __restrict__ rate,
                   Index kind) {
    const REAL s = static_cast<REAL>(step[0]);
    if (kind == POLYNOMIAL) {
        rate[0] = polynomial(s, numbers);
    } else if (kind == COSINE) {
        rate[0] = cosine_decay(s, numbers);
    } else if (kind == RESTARTS) {
        rate[0] = restarts(s, numbers);
    } else if (kind == PIECES) {
        rate[0] = pieces(s, numbers);
    } else {
        rate[0] = decayed(s, numbers, kind == EXPONENTIAL);
    }
}
