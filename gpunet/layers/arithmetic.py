"""Arithmetic on symbolic tensors: x + y, 2 * x and so on, each of which is a layer in the graph.

Two tensors are merged by Add, Subtract, Multiply or Divide, a tensor and a number by Rescaling or Ratio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from gpunet import arguments
from gpunet.layers.division import Divide, Ratio
from gpunet.layers.merging import Add, Multiply, Subtract
from gpunet.layers.normalization import Rescaling
from gpunet.layers.symbolic import SymbolicTensor

_MERGING: dict[str, Callable[..., Any]] = {"+": Add, "-": Subtract, "*": Multiply, "/": Divide}
_HINTS = {
    "indexing": "Cropping1D, Cropping2D, Reshape or a Lambda takes a part",
    "**": "Multiply()([x, x]) is a square, and a Lambda any power",
    "@": "Dot is a product of two tensors, and Dense one with weights",
    "comparison": "a Lambda may compare, and Maximum and Minimum choose",
}


def combined(operator: str, left: Any, right: Any) -> Any:
    """Return the symbolic tensor `left operator right`, of which one may be a number.

    TypeError for what is neither; ValueError for tensors of other numbers of axes, or of sizes that differ and are not
    1.
    """
    tensors = [one for one in (left, right) if isinstance(one, SymbolicTensor)]
    dtype = {"dtype": next((one.dtype for one in tensors if one.dtype in ("float32", "float64")), None)}
    if len(tensors) == 2:
        if left.ndim != right.ndim:
            raise ValueError(
                f"x {operator} y: tensors must have one number of axes; got shapes {left.shape} and {right.shape}; "
                "Reshape one of them first"
            )
        return _MERGING[operator](**dtype)([left, right])
    where = f"x {operator} y" if tensors[0] is left else f"y {operator} x"
    try:
        number = arguments.real(where, "y", right if tensors[0] is left else left)
    except TypeError as error:
        raise TypeError(f"{error}; arrays of constants are for Rescaling, data for an Input") from None
    return _with_number(operator, number, tensors[0] is left, dtype)(tensors[0])


def _with_number(operator: str, number: float, comes_second: bool, options: dict[str, Any]) -> Any:
    """Return the layer that has `number` in the place of one of the tensors."""
    if operator == "/":
        return Ratio(number, inverse=not comes_second, **options)
    if operator == "*":
        return Rescaling(number, **options)
    if operator == "+":
        return Rescaling(1.0, number, **options)
    return Rescaling(1.0, -number, **options) if comes_second else Rescaling(-1.0, number, **options)


def refuse(operation: str, tensor: SymbolicTensor) -> NoReturn:
    """TypeError that says which layer does what a symbolic tensor does not."""
    raise TypeError(f"{tensor!r}: operation must be +, -, * or /; got {operation}; use a layer: {_HINTS[operation]}")
