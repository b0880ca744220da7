"""Standard normal numbers from uniform ones, with the same bits on every device.

A draw k of 24 bits stands for the probability p = (k + 1/2) 2^-24, and z for the number below which a standard normal
one is with that probability: M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution",
Applied Statistics 37 (1988), 477-484, routine PPND7, right to six digits here. All arithmetic is that of float32, in
the order of kernels/normal.cuh, with operations that every device rounds exactly: no logarithm of a library.
"""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import HostArray


def normal_numbers(u: HostArray) -> HostArray:
    """Return z, float32, for uniform numbers `u` as `Generator.random(dtype=numpy.float32)` draws them, k 2^-24.

    |z| is at most 5.42.

    >>> normal_numbers(np.float32([0.0, 0.25, 0.5, 0.75]))
    array([-5.4199834e+00, -6.7448968e-01,  7.4703344e-08,  6.7448980e-01],
          dtype=float32)
    """
    t = 2 * (u * np.float32(2**24)).astype(np.int32) + 1 - 2**24  # 2^25 (p - 1/2), odd
    q = t.astype(np.float32) * np.float32(2**-25)
    r = np.float32(0.180625) - q * q
    above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r
    below = ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r
    z: HostArray = q * (above + 3.3871327179) / (below + 1)
    tail = np.abs(q) > np.float32(0.425)
    z[tail] = _tail(t[tail])
    return z


def _tail(t: HostArray) -> HostArray:
    """Return z where p is near 0 or 1."""
    r = np.sqrt(_minus_log((2**24 - np.abs(t)).astype(np.float32))) - np.float32(1.6)
    above = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r
    below = (0.12021132975 * r + 0.73700164250) * r
    z = (above + 1.4234372777) / (below + 1)
    return np.where(t < 0, -z, z)


def _minus_log(n: HostArray) -> HostArray:
    """Return -log(n 2^-25) for n from 1 to 2^24: of the power of two by counting, of the rest by a series."""
    v, exponent = np.frexp(n * np.float32(2**-25))  # v is from 1/2 to below 1
    low = v < np.float32(math.sqrt(0.5))
    v = np.where(low, v * 2, v)
    halvings: HostArray = (low - exponent).astype(np.float32)
    s = (v - 1) / (v + 1)
    w = s * s
    series = 1 + w * (1 / 3 + w * (1 / 5 + w * (1 / 7 + w * (1 / 9))))
    result: HostArray = halvings * np.float32(math.log(2)) - 2 * s * series
    return result
