"""How convolutions are computed: exactly, or by Winograd's products where they take them.

The choice is, from strongest to weakest: `with gpunet.convolution(...)` in this thread, `gpunet.set_convolution(...)`,
'exact'. Each op goes by the choice at the moment when it is called, the backward pass by that at its own call. A
training step is captured for each choice by itself (training/step.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gpunet import arguments

EXACT, WINOGRAD = "exact", "winograd"
_POLICIES = (EXACT, WINOGRAD)

_local: ContextVar[str | None] = ContextVar("gpunet_convolution", default=None)
_chosen = EXACT


def set_convolution(policy: str) -> None:
    """Compute convolutions by `policy`, 'exact' or 'winograd', from now on, in every thread.

    'exact', the default, adds up every product of a window. 'winograd' (Lavin and Gray 2015, arXiv 1509.09308) does so
    for the gradient of the filters, but for outputs and the gradient of the images it takes 16 products a channel where
    these are 36 (F(2 x 2, 3 x 3)). That goes for 3 x 3 windows with strides and dilation of 1, one group, padding of at
    most 2 and at least 64 channels and filters (128 on `cpu`), both multiples of 4; all others stay exact.

    Results are the same at every run, but not those of exact sums: beside float64, errors were measured to be 0.6 to
    2.8 times as large (root mean squares; ops/winograd.py). Where exact sums are infinite they may be NaN, and elements
    above a fourth of the largest number may overflow. ValueError for another name.

    >>> set_convolution("winograd")
    >>> set_convolution("exact")
    """
    global _chosen
    _chosen = _checked("set_convolution", policy)


@contextmanager
def convolution(policy: str) -> Iterator[str]:
    """Compute convolutions by `policy`, as in `set_convolution`, inside a `with` block, in this thread.

    >>> with convolution("winograd"):
    ...     current_convolution()
    'winograd'
    """
    token = _local.set(_checked("convolution", policy))
    try:
        yield policy
    finally:
        _local.reset(token)


def current_convolution() -> str:
    """Return how convolutions are computed now, in this thread: 'exact' or 'winograd'."""
    return _local.get() or _chosen


def _checked(where: str, policy: str) -> str:
    return arguments.choice(where, "policy", policy, _POLICIES)
