"""A count of changes to layers and parameters: a captured training step holds as long as the count stands still."""

from __future__ import annotations

from itertools import count as counting

_count = 0
_last = ""
_numbers = counting(1)  # of two threads that take one at once, each gets another


def note(what: str) -> None:
    """Count a change; `what` names it in words that follow 'because of'."""
    global _count, _last
    _count, _last = next(_numbers), what


def count() -> int:
    """Return the number of changes so far."""
    return _count


def last() -> str:
    """Return what the last change was."""
    return _last
