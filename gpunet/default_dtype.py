"""The dtype of layers that are given none: float32, or float64 for whoever checks gradients."""

from __future__ import annotations

from typing import Any

from gpunet import arguments

_floatx = "float32"


def floatx() -> str:
    """Return the dtype that new layers, weights and activations take when none is given: 'float32' or 'float64'."""
    return _floatx


def set_floatx(value: Any) -> None:
    """Set the dtype of all layers made from now on, 'float32' or 'float64'; TypeError for any other.

    >>> set_floatx("float64")
    >>> floatx()
    'float64'
    >>> set_floatx("float32")
    """
    global _floatx
    _floatx = arguments.floating("set_floatx", value).name
