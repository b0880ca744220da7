"""One step of RMSprop over a flat vector of parameters."""

from __future__ import annotations

from bench.cases.adam import data
from bench.cases.case import Case, array, float_bytes
from gpunet.ops.rmsprop import rmsprop
from gpunet.ops.trace import flops_of

LEARNING_RATE, RHO = 1e-3, 0.9
EPSILON = 1e-10  # so small that it makes no difference whether it is added in the root or outside, as PyTorch does


def flops(n: int) -> int:
    w = array(n)
    return flops_of(rmsprop, w, w, w, None, None, array(1), RHO, 0.0, EPSILON)


# Read w, g, v, write w, v.
CASES = tuple(
    Case("rmsprop", f"{n:.0e}".replace("e+0", "e"), {"n": n}, flops(n), float_bytes(5 * n), data, quick=n == 10**5)
    for n in (10**5, 10**6, 10**7)
)
