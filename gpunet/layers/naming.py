"""Names of layers that were given none: 'dense', 'dense_1', 'dense_2', as in Keras."""

from __future__ import annotations

from collections import defaultdict

from gpunet.backend.locks import Lock
from gpunet.identifiers import snake_case

_counts: defaultdict[str, int] = defaultdict(int)
_lock = Lock()


def auto_name(class_name: str) -> str:
    """Return the next free name for a layer of class `class_name`."""
    prefix = snake_case(class_name)
    with _lock:
        number = _counts[prefix]
        _counts[prefix] += 1
    return f"{prefix}_{number}" if number else prefix


def clear_session() -> None:
    """Start the numbering of names anew, so that the next Dense is called 'dense' again."""
    with _lock:
        _counts.clear()
