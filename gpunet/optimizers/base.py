"""What every optimizer does: it keeps slots beside the parameters and changes these by their gradients."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, assign, to_device, to_host, zeros_like
from gpunet.backend.interrupts import undisturbed
from gpunet.identifiers import snake_case
from gpunet.ops import arithmetic, preparation
from gpunet.ops.optimizer_step import advance
from gpunet.optimizers.flat import FlatParameters
from gpunet.parameters import Parameter

# Called with the count of steps, this one included, and for each group the numbers of parameters with a gradient.
BeforeUpdate: TypeAlias = Callable[[Array, Sequence[Sequence[slice]]], None]


class Optimizer(ABC):
    """w = update(w, gradient), once a step, for every trainable parameter that has a gradient.

    Before it, the gradients of penalties on weights are added; then gradients are clipped, each to a norm of at most
    `clipnorm`, or all together to `global_clipnorm`, or each number to at most `clipvalue`, of which one may be given;
    then w decays by `weight_decay` learning_rate w, but for parameters that `exclude_from_weight_decay` names. After it
    w is made to fulfil its constraint.

    Learning rate and step count lie in device memory, where the kernels read them, so that a captured CUDA graph needs
    no change from step to step. A frozen parameter is not touched and has no slots. The trained ones lie side by side
    in one array (optimizers/flat.py), so that each of these acts is one kernel for the whole model.

    An own optimizer is a subclass with `update`, and with `slot_names` if it keeps something beside each parameter.
    """

    slot_names: tuple[str, ...] = ()
    # Whether an element of w depends on the same element of gradient and slots alone: then `update` is called once,
    # with the flat arrays of all parameters, else once for each parameter.
    element_wise: ClassVar[bool] = False

    def __init__(
        self,
        learning_rate: float,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        where = type(self).__name__
        self.name = arguments.text(where, "name", name, snake_case(where))
        rate = arguments.real(where, "learning_rate", learning_rate, minimum=0)
        self.weight_decay = None if weight_decay is None else arguments.real(where, "weight_decay", weight_decay, 0)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: arguments.real(where, key, value, 0) for key, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"{where}: only one of {', '.join(clips)} must be given; got {', '.join(given)}")
        self.clipnorm, self.clipvalue, self.global_clipnorm = (given.get(key) for key in clips)
        self._learning_rate: Array = np.array([rate])
        self._iterations: Array = np.zeros(1, np.int64)
        self._parameters: dict[str, Parameter] = {}  # by path
        self._groups: list[FlatParameters] = []  # those that are trained, by dtype
        self._slots: dict[str, dict[str, Array]] = {}  # by the parameter's path, then by the slot's name
        self._undecayed: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())
        self.built = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes over: the slots, but not how they lie side by side, which it arranges anew."""
        return vars(self) | {"_groups": []}

    def exclude_from_weight_decay(
        self, var_list: Iterable[Parameter] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Let the parameters in `var_list`, and those whose name one of the patterns in `var_names` finds, not decay.

        ValueError if the optimizer is built already.
        """
        if self.built:
            raise ValueError(f"{self.name}: exclude_from_weight_decay must be called before the optimizer is built")
        paths = frozenset(parameter.path for parameter in var_list or ())
        self._undecayed = (paths, tuple(var_names or ()))

    def _decay(self, parameter: Parameter) -> float:
        """Return the weight decay of `parameter`."""
        paths, patterns = self._undecayed
        excluded = parameter.path in paths or any(re.search(pattern, parameter.name) for pattern in patterns)
        return 0.0 if excluded else self.weight_decay or 0.0

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
        with undisturbed():
            self._learning_rate = to_device(self._learning_rate, device)
            self._iterations = to_device(self._iterations, device)
            self._parameters = dict(zip(paths, parameters, strict=True))
            self.built = True
            self.arrange(parameters)

    def arrange(self, parameters: Sequence[Parameter]) -> None:
        """Lay those of `parameters` that are trainable side by side, with their slots, unless they lie so already.

        To be called before a backward pass, so that gradients are written where `apply` wants them.
        """
        trained = [parameter for parameter in parameters if parameter.trainable]
        for parameter in trained:
            if self._parameters.get(parameter.path) is not parameter:
                raise ValueError(
                    f"{self.name}: parameters must be those that the optimizer was built for; got {parameter.path}; "
                    f"compile the model again with a new optimizer"
                )
        dtypes = sorted({parameter.dtype for parameter in trained}, key=str)
        groups = [[parameter for parameter in trained if parameter.dtype == dtype] for dtype in dtypes]
        if len(groups) == len(self._groups) and all(map(FlatParameters.holds, self._groups, groups)):
            return
        if len(groups) > 1 and self.global_clipnorm is not None:
            raise ValueError(f"{self.name}: parameters must have one dtype for global_clipnorm; got {len(groups)}")
        with undisturbed():
            for old in self._groups:
                old.release()
            self._groups = [FlatParameters(group, self.slot_names, self._slots, self._decay) for group in groups]
            for made in self._groups:
                self._slots |= made.slots_by_path

    def penalties(self) -> Iterator[Array]:
        """Yield what penalties on the trained parameters add to the loss, each of shape (1,)."""
        for group in self._groups:
            yield from group.penalties()

    @property
    def groups(self) -> Sequence[FlatParameters]:
        """The parameters that are trained, side by side, one group for each dtype."""
        return self._groups

    def scale_gradients(self, factor: float) -> None:
        """Multiply by `factor` what `arrange`d parameters have of a gradient so far."""
        for group in self._groups:
            arithmetic.scale_in_place(group.gradients, factor)

    def apply(self, parameters: Sequence[Parameter], before_update: BeforeUpdate | None = None) -> None:
        """Take one step: update the trainable parameters that have a gradient, and drop all gradients.

        `before_update` is called while gradients are in the groups, as they came from the backward pass and from
        penalties that are the user's own, and weights and slots are still those of before. Builds the optimizer if
        nobody has. ValueError if no trainable parameter has a gradient, or if one is unknown. Ctrl-C waits for the end:
        weights, slots and step count are always those of one step.
        """
        self.build(parameters)
        self.arrange(parameters)
        with undisturbed():
            self._apply(parameters, before_update)

    def _apply(self, parameters: Sequence[Parameter], before_update: BeforeUpdate | None) -> None:
        runs = [group.runs() for group in self._groups]
        if any(runs):
            self.advance()
        elif self._groups:
            raise ValueError(f"{self.name}: parameters must have gradients; got none; run a backward pass first")
        for group in self._groups:
            group.add_own_penalty_gradients()
        if before_update is not None:
            before_update(self._iterations, runs)
        for group, present in zip(self._groups, runs, strict=True):
            self._prepare(group, present)
            self._update(group, present)
            group.constrain()
        for parameter in parameters:
            parameter.gradient = None

    def _prepare(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        """Add the gradients of penalties, clip the gradients, and let weights decay, where there is any of this."""
        w, gradient, rules = group.values, group.gradients, group.rules
        limit = self.clipnorm or self.global_clipnorm
        bound = self.clipvalue or math.inf
        if not runs or not (rules.l1 is not None or rules.decays is not None or limit or self.clipvalue):
            return
        together = bool(self.global_clipnorm)
        factors = preparation.clip_factors(w, gradient, rules, runs, limit, together) if limit else None
        for run in runs:
            preparation.prepare(w, gradient, rules, run, self._learning_rate, factors, bound)

    def _update(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        if self.element_wise:
            for run in runs:
                span = group.layout.span(run.start, run.stop)
                slots = {name: slot[span] for name, slot in group.slots.items()}
                self.update(group.values[span], group.gradients[span], slots)
            return
        for parameter in group.parameters:
            if parameter.gradient is not None:
                self.update(parameter.value, parameter.gradient, group.slots_by_path[parameter.path])

    @abstractmethod
    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        """Change the weights `w` and `slots`, the arrays named in `slot_names`, in place; all have one shape."""

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
    def hyperparameters(self) -> tuple[Any, ...]:
        """The plain attributes, on which the launches of a step depend; not the learning rate."""
        return tuple(value for value in vars(self).values() if value is None or isinstance(value, (int, float, str)))

    @property
    def nbytes(self) -> int:
        """The bytes of gradients and slots."""
        return sum(array.nbytes for group in self._groups for array in (group.gradients, *group.slots.values()))

    @property
    def variables(self) -> dict[str, Array]:
        """Everything that a checkpoint must keep: 'iterations', 'learning_rate', and 'dense/kernel/momentum' etc."""
        slots = {f"{path}/{name}": slot for path, slots in self._slots.items() for name, slot in slots.items()}
        return {"iterations": self._iterations, "learning_rate": self._learning_rate, **slots}

    def set_variables(self, values: Mapping[str, Any]) -> None:
        """Copy what `variables` held, host arrays, back into an optimizer built for the same parameters.

        ValueError, before anything changes, if names or shapes differ.
        """
        for path, parameter in self._parameters.items():  # some may have been frozen since
            if path not in self._slots and any(f"{path}/{name}" in values for name in self.slot_names):
                self._slots[path] = {name: zeros_like(parameter.value) for name in self.slot_names}
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
        config = {"name": self.name, "learning_rate": self.learning_rate}
        rest = {key: getattr(self, key) for key in ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")}
        return config | {key: value for key, value in rest.items() if value is not None}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the optimizer that `get_config` described, not built."""
        return cls(**config)
