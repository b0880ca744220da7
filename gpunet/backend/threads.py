"""Threads of the host: NumPy's matrix products run on one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside this `with` block, or a function it decorates, let the library behind `numpy.matmul` use one thread.

    The products of a training step are small: a second thread gains little on them, and where another program wants
    the core too, OpenBLAS's threads waiting for each other make a step many times slower. Besides, how a product is
    split, and so how it rounds, no longer depends on the number of cores.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
