"""What every optimizer does: it keeps slots beside the parameters and changes these by their gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, assign, to_device, to_host, zeros
from gpunet.identifiers import snake_case
from gpunet.ops.optimizer_step import advance
from gpunet.parameters import Parameter


class Optimizer(ABC):
    """w = update(w, gradient), once a step, for every trainable parameter that has a gradient.

    Learning rate and step count lie in device memory, where the kernels read them, so that a captured CUDA graph needs
    no change from step to step. A frozen parameter is not touched and has no slots.

    An own optimizer is a subclass with `update`, and with `slot_names` if it keeps something beside each parameter.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        rate = arguments.real(type(self).__name__, "learning_rate", learning_rate, minimum=0)
        self._learning_rate: Array = np.array([rate])
        self._iterations: Array = np.zeros(1, np.int64)
        self._parameters: dict[str, Parameter] = {}  # by path
        self._slots: dict[str, dict[str, Array]] = {}  # by the parameter's path, then by the slot's name
        self.built = False

    def build(self, parameters: Sequence[Parameter]) -> None:
        """Take charge of `parameters`, all on one device and with different paths; a second call changes nothing."""
        if self.built:
            return
        paths = [parameter.path for parameter in parameters]
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"{self.name}: parameters must have different paths; got {path!r} more than once")
        device = parameters[0].device if parameters else CPU
        for parameter in parameters:
            if parameter.device != device:
                raise TypeError(
                    f"{self.name}: parameters must be on one device; got {parameters[0].path} on {device} and "
                    f"{parameter.path} on {parameter.device}"
                )
        self._learning_rate = to_device(self._learning_rate, device)
        self._iterations = to_device(self._iterations, device)
        self._parameters = dict(zip(paths, parameters, strict=True))
        for parameter in parameters:
            if parameter.trainable:
                self._slots_of(parameter)
        self.built = True

    def apply(self, parameters: Sequence[Parameter]) -> None:
        """Take one step: update the trainable parameters that have a gradient, apply constraints, drop the gradients.

        Builds the optimizer if nobody has. ValueError if no trainable parameter has a gradient, or if one is unknown.
        """
        self.build(parameters)
        trainable = [parameter for parameter in parameters if parameter.trainable]
        for parameter in trainable:
            if self._parameters.get(parameter.path) is not parameter:
                raise ValueError(
                    f"{self.name}: parameters must be those that the optimizer was built for; got {parameter.path}; "
                    f"compile the model again with a new optimizer"
                )
        updates = [(parameter, parameter.gradient) for parameter in trainable if parameter.gradient is not None]
        if trainable and not updates:
            raise ValueError(f"{self.name}: parameters must have gradients; got none; run a backward pass first")
        if updates:
            self.advance()
        for parameter, gradient in updates:
            self.update(parameter, gradient, self._slots_of(parameter))
            if parameter.constraint is not None:
                parameter.constraint.apply(parameter.value)
        for parameter in parameters:
            parameter.gradient = None

    def _slots_of(self, parameter: Parameter) -> dict[str, Array]:
        """Return the slots of `parameter`, made of zeros when it is first trained."""
        if parameter.path not in self._slots:
            self._slots[parameter.path] = {
                name: zeros(parameter.shape, parameter.dtype, parameter.device) for name in self.slot_names
            }
        return self._slots[parameter.path]

    @abstractmethod
    def update(self, parameter: Parameter, gradient: Array, slots: Mapping[str, Array]) -> None:
        """Change `parameter.value` and `slots`, the arrays named in `slot_names`, in place."""

    def advance(self) -> None:
        """Count a step on the device, before the updates of that step."""
        advance(self._iterations)

    @property
    def learning_rate(self) -> float:
        """The learning rate, which may be set at any time."""
        return float(to_host(self._learning_rate)[0])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        rate = arguments.real(self.name, "learning_rate", value, minimum=0)
        assign(self._learning_rate, np.array([rate]))

    @property
    def iterations(self) -> int:
        """The number of steps taken."""
        return int(to_host(self._iterations)[0])

    @property
    def variables(self) -> dict[str, Array]:
        """Everything that a checkpoint must keep: 'iterations', 'learning_rate', and 'dense/kernel/momentum' etc."""
        slots = {f"{path}/{name}": slot for path, slots in self._slots.items() for name, slot in slots.items()}
        return {"iterations": self._iterations, "learning_rate": self._learning_rate, **slots}

    def set_variables(self, values: Mapping[str, Any]) -> None:
        """Copy what `variables` held, host arrays, back into an optimizer built for the same parameters.

        ValueError, before anything changes, if names or shapes differ.
        """
        for path, parameter in self._parameters.items():
            if any(f"{path}/{name}" in values for name in self.slot_names):
                self._slots_of(parameter)
        variables = self.variables
        if set(values) != set(variables):
            differing = ", ".join(sorted(set(values) ^ set(variables)))
            raise ValueError(
                f"{self.name}: values must have the names of the optimizer's variables; {differing} differ"
            )
        arrays = {name: np.asarray(value) for name, value in values.items()}
        for name, array in arrays.items():
            if array.shape != variables[name].shape:
                raise ValueError(f"{self.name}: {name} must have shape {variables[name].shape}; got {array.shape}")
        for name, array in arrays.items():
            assign(variables[name], array.astype(variables[name].dtype, copy=False))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        return {"name": self.name, "learning_rate": self.learning_rate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the optimizer that `get_config` described, not built."""
        return cls(**config)
