"""Input: the shape of the data a network starts from, and the symbolic tensor that stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.default_dtype import floatx
from gpunet.layers.base import Forward, Layer
from gpunet.layers.shapes import Dims, dims, fits
from gpunet.layers.symbolic import Node, SymbolicTensor


class InputLayer(Layer):
    """y = x, of a known shape: `shape` without the batch, or `batch_shape` with it."""

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
    ) -> None:
        where = "Input"
        given = _dtype(where, floatx() if dtype is None else dtype)
        super().__init__(name=name, dtype=given if given in ("float32", "float64") else None)
        self.input_dtype = given
        if (shape is None) == (batch_shape is None):
            shapes = f"{arguments.shown(shape)} and {arguments.shown(batch_shape)}"
            raise ValueError(f"{where}: either shape or batch_shape must be given; got {shapes}")
        if shape is not None:
            batch = None if batch_size is None else arguments.integer(where, "batch_size", batch_size)
            self.batch_shape: Dims = (batch, *dims(where, "shape", shape))
        elif batch_size is not None:
            raise ValueError(f"{where}: batch_size must be given with shape only; got it with batch_shape")
        else:
            self.batch_shape = dims(where, "batch_shape", batch_shape)

    def check_input_shape(self, shape: Dims) -> None:
        if not fits(shape[1:], self.batch_shape[1:]):
            raise ValueError(f"{self.where}: input must have shape {self.batch_shape}; got {shape}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return shape

    def forward(self, x: Array, training: bool) -> Forward:
        return x, lambda dy: dy

    @property
    def tensor(self) -> SymbolicTensor:
        """The tensor that stands for the data: the one there is, or a new one."""
        nodes = self.calls.nodes
        return (nodes[0] if nodes else Node(self, None, None, [self.batch_shape], False).registered()).output_tensors[0]

    @property
    def output(self) -> SymbolicTensor:
        return self.tensor

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": list(self.batch_shape), "dtype": self.input_dtype, "name": self.name}


def Input(  # noqa: N802 — Keras's name
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> SymbolicTensor:
    """Return the tensor that stands for data of `shape`, without the batch, at the start of a network.

    It goes first into a Sequential, `Sequential([Input((16,)), Dense(32)])`, or layers are called on it, and a Model is
    made of what they return: `x = Input((16,)); model = Model(x, Dense(32)(x))`.

    None in `shape` is an axis of any size. `batch_shape` is the shape with the batch. `dtype` is that of the data;
    layers cast it to their own.
    """
    return InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name).tensor


def _dtype(where: str, dtype: Any) -> str:
    given = arguments.dtype_of(dtype)
    if given.kind not in "biuf":
        raise TypeError(
            f"{where}: dtype must be that of real numbers, such as 'float32' or 'uint8'; got {arguments.shown(dtype)}"
        )
    return given.name
