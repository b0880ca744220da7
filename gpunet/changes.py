"""A count of changes to layers and parameters: a captured training step holds as long as the count stands still."""

from __future__ import annotations

import threading
from itertools import count as counting

_count = 0
_last = ""
_last_thread = 0
_numbers = counting(1)  # of two threads that take one at once, each gets another


def note(what: str) -> None:
    """Count a change; `what` names it in words that follow 'because of'."""
    global _count, _last, _last_thread
    _count, _last, _last_thread = next(_numbers), what, threading.get_ident()


def count() -> int:
    """Return the number of changes so far."""
    return _count


def last() -> str:
    """Return what the last change was."""
    return _last


def is_last_ours() -> bool:
    """Tell whether this thread made the last change."""
    return _last_thread == threading.get_ident()
