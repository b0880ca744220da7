"""Parameters: the arrays that training changes, with their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpunet import changes
from gpunet.backend.arrays import (
    Array,
    Device,
    HostArray,
    Shape,
    assign,
    contiguous,
    device_of,
    empty_like,
    is_array,
    to_device,
    to_host,
)
from gpunet.ops import arithmetic

if TYPE_CHECKING:
    from gpunet.constraints import Constraint
    from gpunet.regularizers import Regularizer


class Parameter:
    """One weight array of a layer; what Keras calls a variable.

    `value` lies on the device the layer was built on. `gradient` is None until a backward pass fills it; a frozen
    parameter (`trainable` False) gets none and keeps its bits. `name` is the layer's own ('kernel'); `path` is unique
    in the model ('dense_1/kernel').

    An optimizer keeps the parameters it trains side by side in one array, and so their gradients: `value` and
    `gradient_space` are then views into these. So ask for `value` anew at every use.
    """

    def __init__(
        self,
        value: Array,
        name: str,
        trainable: bool = True,
        regularizer: Regularizer | None = None,
        constraint: Constraint | None = None,
        path: str | None = None,
    ) -> None:
        self.value = value
        self.name = name
        self.path = path or name
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.gradient: Array | None = None
        self.gradient_space: Array | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "gradient" and vars(self).get(name, changes) is not value:
            changes.note(f"Parameter.{name}")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes over: all but the gradient and its place."""
        return vars(self) | {"gradient": None, "gradient_space": None}

    @property
    def shape(self) -> Shape:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    @property
    def size(self) -> int:
        return self.value.size

    @property
    def nbytes(self) -> int:
        return self.value.nbytes

    @property
    def device(self) -> Device:
        return device_of(self.value)

    def numpy(self) -> HostArray:
        """Return a copy of the value on the host."""
        host = to_host(self.value)
        return host.copy() if host is self.value else host

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> HostArray:
        if copy is False:
            raise ValueError(f"{self.path}: a parameter cannot be an array without a copy; got copy=False")
        return self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)

    def check(self, value: Any) -> Array:
        """Return `value` as an array that `assign` can take.

        ValueError if its shape is another; TypeError if it does not hold real numbers.
        """
        array: Array = value if is_array(value) else np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self.path}: value must hold real numbers; got dtype {array.dtype}")
        if array.shape != self.shape:
            raise ValueError(f"{self.path}: value must have shape {self.shape}; got {array.shape}")
        return array

    def assign(self, value: Any) -> None:
        """Copy `value`, of the same shape, into this parameter; the errors are those of `check`."""
        assign(self.value, to_device(self.check(value).astype(self.dtype, copy=False), self.device))

    def gradient_target(self) -> Array:
        """Return C-contiguous memory for the next gradient, to be filled and given to `add_gradient`."""
        if self.trainable and self.gradient is None and self.gradient_space is not None:
            return self.gradient_space
        return empty_like(self.value)

    def add_gradient(self, gradient: Array) -> None:
        """Take `gradient`, or add it to what an earlier use of the layer in this step left; a frozen one takes none."""
        if gradient.shape != self.shape or gradient.dtype != self.dtype:
            raise ValueError(
                f"{self.path}: gradient must have shape {self.shape} and dtype {self.dtype}; "
                f"got {gradient.shape} and {gradient.dtype}"
            )
        if not self.trainable:
            return
        if self.gradient is not None:
            arithmetic.add_in_place(self.gradient, gradient)
        elif self.gradient_space is None:
            self.gradient = contiguous(gradient)  # regularizers and optimizers work on it in place
        else:
            if gradient is not self.gradient_space:
                assign(self.gradient_space, gradient)
            self.gradient = self.gradient_space

    def __repr__(self) -> str:
        state = "" if self.trainable else ", frozen"
        return f"<Parameter {self.path}, shape={self.shape}, dtype={self.dtype}, device={self.device}{state}>"
