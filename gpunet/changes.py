"""A count of changes to layers and parameters: a captured training step holds as long as the count stands still."""

from __future__ import annotations

_count = 0
_last = ""


def note(what: str) -> None:
    """Count a change; `what` names it in words that follow 'because of'."""
    global _count, _last
    _count += 1
    _last = what


def count() -> int:
    """Return the number of changes so far."""
    return _count


def last() -> str:
    """Return what the last change was."""
    return _last
