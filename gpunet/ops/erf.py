"""The error function for NumPy, which has none: erf(x) = 2 / sqrt(pi) * integral of exp(-t**2) from 0 to x.

W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969), 631-637:
a quotient of two polynomials for each range of |x|. The coefficients are Cody's, highest power first; the quotients
are exact to 1e-18, so that only the rounding of the arithmetic is left.
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import HostArray

# |x| <= 0.46875: erf(x) = x * P(x**2) / Q(x**2)
_SMALL = 0.46875
_P_SMALL = (
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_Q_SMALL = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)

# |x| > 0.46875: erf(|x|) = 1 - exp(-x**2) * P(|x|) / Q(|x|). Cody has a third range from 4 on, for the sake of erfc;
# the difference from 1 is below 1.6e-8 there and below half a rounding of float64 from 6 on.
_ONE_FROM = 6.0
_P_LARGE = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_Q_LARGE = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)


def erf(x: HostArray) -> HostArray:
    """Return erf(x), element by element, in x's dtype, float32 or float64, to within three roundings.

    >>> erf(np.array([-0.5, 0.0, 1.0]))
    array([-0.52049988,  0.        ,  0.84270079])
    """
    size = np.minimum(np.abs(x), _ONE_FROM)
    square = size * size
    near = size * _polynomial(_P_SMALL, square) / _polynomial(_Q_SMALL, square)
    far = 1 - np.exp(-square) * _polynomial(_P_LARGE, size) / _polynomial(_Q_LARGE, size)
    return np.copysign(np.where(size <= _SMALL, near, far), x)


def _polynomial(coefficients: tuple[float, ...], x: HostArray) -> HostArray:
    """Return the polynomial with `coefficients`, highest power first, at x (Horner's rule)."""
    y = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y *= x
        y += coefficient
    return y
