"""What is known of a MemoryError: noted on the error on its way up, by those who know it, for the message on top."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Shortage:
    """`place`: who asked for the memory, "the forward pass of Dense 'dense'", say; empty if nobody knows.

    `batch`: the size of the batch that was being run, 0 if none was; `parts`: in how many parts that was, 0 if it can
    have none. `fits`: how large a batch would fit in so many parts, and how large a part of the batch as it is; None if
    it is not known. `is_told`: whether the message says all of this already.
    """

    place: str = ""
    batch: int = 0
    parts: int = 0
    fits: tuple[int, int] | None = None
    is_told: bool = False


def of(error: MemoryError) -> Shortage:
    """Return what is known of `error`, to be written to."""
    known: Any = vars(error).setdefault("shortage", Shortage())
    assert isinstance(known, Shortage)
    return known


def blame(error: MemoryError, place: str) -> None:
    """Note that `place` asked for the memory, unless somebody inside it did."""
    known = of(error)
    known.place = known.place or place


@contextmanager
def charged(place: str) -> Iterator[None]:
    """Blame `place` for a MemoryError that leaves the `with` block."""
    try:
        yield
    except MemoryError as error:
        blame(error, place)
        raise


def told(text: str) -> MemoryError:
    """Return a MemoryError with a message to which nothing is to be added."""
    error = MemoryError(text)
    of(error).is_told = True
    return error
