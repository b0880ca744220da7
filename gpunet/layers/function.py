"""A layer that runs a function: Lambda."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self, Unpack

from gpunet import arguments as checks
from gpunet import identifiers
from gpunet.backend.arrays import Array
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims


class Lambda(Layer):
    """y = function(x, **arguments), x an array of the layer's device.

    To be trained through, the function returns y and the closure backward(dy) -> dx, as an activation of your own does;
    one that returns y alone will do where nothing below the layer is trained, and for predictions. A function with an
    argument `training` gets that too. `output_shape` is the shape of y without the batch, or a function of the input's
    shape with it; None finds it by a run on zeros. `mask` must be None.

    A file keeps the function's name, never its code: to load it, pass the function in `custom_objects`, or register it
    with `gpunet.saving.register_serializable`.

    >>> Lambda(lambda x: (2 * x, lambda dy: 2 * dy))([[1.0, 2.0]])
    array([[2., 4.]], dtype=float32)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: None = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"{self.where}: function must be callable; got {checks.shown(function)}")
        if mask is not None:
            raise ValueError(f"{self.where}: mask must be None: layers here have no masks; got {checks.shown(mask)}")
        given = {} if arguments is None else arguments
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise TypeError(f"{self.where}: arguments must be a dict by names; got {checks.shown(arguments)}")
        self.function = function
        known = output_shape is None or callable(output_shape)
        self.output_shape_argument = output_shape if known else dims(self.where, "output_shape", output_shape)
        self.arguments = dict(given)
        self._takes_training = "training" in _parameters(function)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        wanted = self.output_shape_argument
        if wanted is None:
            run_once: Dims = super().compute_output_shape(input_shape)
            return run_once
        shape = dims(self.where, "input_shape", input_shape)
        if callable(wanted):
            return dims(self.where, "output shape", wanted(shape))
        return (shape[0], *wanted)

    def forward(self, x: Array, training: bool) -> Forward:
        own = {"training": training} if self._takes_training else {}
        result = self.function(x, **self.arguments, **own)
        if isinstance(result, tuple) and len(result) == 2 and callable(result[1]):
            return result
        return result, self._no_way_back

    def _no_way_back(self, dy: Array) -> None:
        if self.needs_input_gradient:
            raise TypeError(
                f"{self.where}: function must return y and the closure backward(dy) -> dx, as a tuple, where layers "
                f"below are trained; got y alone; return both, or freeze those layers with trainable=False"
            )

    def get_config(self) -> dict[str, Any]:
        wanted = self.output_shape_argument
        shape = identifiers.serialize_function(wanted) if callable(wanted) else wanted and list(wanted)
        function = identifiers.serialize_function(self.function)
        return {**super().get_config(), "function": function, "output_shape": shape, "arguments": dict(self.arguments)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the layer that `get_config` described; its functions are found among the custom objects, by name."""
        given = dict(config)
        for name in ("function", "output_shape"):
            if identifiers.is_function(given.get(name)):
                given[name] = identifiers.deserialize_function(f"{cls.__name__}: {name}", given[name])
        return cls(**given)


def _parameters(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a function written in C
        return {}
