"""What an optimizer keeps: the learning rate, a count of calls, and slots beside the parameters that it trains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, Device, assign, device_of, to_device, to_host, zeros_like
from gpunet.backend.interrupts import undisturbed
from gpunet.optimizers.flat import FlatParameters
from gpunet.optimizers.schedules import LearningRateSchedule
from gpunet.optimizers.settings import Rate, Settings
from gpunet.parameters import Parameter

AVERAGE, ACCUMULATOR = "average", "gradient_accumulator"  # slots that any optimizer may have


@dataclass
class Turn:
    """Where an optimizer is: the calls so far, None if the host does not know; and whether the running one updates."""

    calls: int | None = None
    updates: bool = True
    is_running: bool = False


class Kept(Settings):
    """The part of an optimizer that a checkpoint holds, and that moves to where the parameters are."""

    slot_names: tuple[str, ...] = ()
    # What slots are at first, if it is not 0.
    initial_slots: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        clips = clipnorm, clipvalue, global_clipnorm
        averages = use_ema, ema_momentum, ema_overwrite_frequency
        super().__init__(
            learning_rate, weight_decay, *clips, *averages, loss_scale_factor, gradient_accumulation_steps, name
        )
        self._iterations: Array = np.zeros(1, np.int64)  # calls of `apply`
        self._turn = Turn()
        self._parameters: dict[str, Parameter] = {}  # by path
        self._groups: list[FlatParameters] = []  # those that are trained, by dtype
        self._slots: dict[str, dict[str, Array]] = {}  # by the parameter's path, then by the slot's name
        self._undecayed: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())
        self.averages_in_use = False  # whether weights and their averages are exchanged
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

    def _is_undecayed(self, parameter: Parameter) -> bool:
        paths, patterns = self._undecayed
        return parameter.path in paths or any(re.search(pattern, parameter.name) for pattern in patterns)

    def _decay(self, parameter: Parameter) -> float:
        """Return the weight decay of `parameter`."""
        return 0.0 if self._is_undecayed(parameter) else self.weight_decay or 0.0

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
            if self._schedule_numbers is not None:
                self._schedule_numbers = to_device(self._schedule_numbers, device)
            self.make_state(device)
            self._parameters = dict(zip(paths, parameters, strict=True))
            self.built = True
            self.arrange(parameters)

    def make_state(self, device: Device) -> None:  # most have none
        """Make, on `device`, what the optimizer keeps beside slots, if there is any."""

    @property
    def kept_slots(self) -> dict[str, float]:
        """The names of everything that is kept beside each parameter, and what it is at first."""
        names = (*self.slot_names, *(AVERAGE,) * self.use_ema, *(ACCUMULATOR,) * (self._every > 1))
        return {name: self.initial_slots.get(name, 0.0) for name in names}

    @property
    def _every(self) -> int:
        """One call in so many updates the weights."""
        return self.gradient_accumulation_steps or 1

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
            self._groups = [FlatParameters(group, self.kept_slots, self._slots, self._decay) for group in groups]
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

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, which may be set at any time, to a schedule too.

        TypeError if a number is set where there is a schedule.
        """
        if self._schedule is not None:
            return self._rate_after(self.calls)
        return float(to_host(self._learning_rate)[0])

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        if callable(value):
            self._take_rate(self.name, value)
            if self._schedule_numbers is not None:
                self._schedule_numbers = to_device(self._schedule_numbers, device_of(self._learning_rate))
            return
        if isinstance(self._schedule, LearningRateSchedule):
            raise TypeError(
                f"{self.name}: learning_rate must be a schedule, because the optimizer has one; got "
                f"{arguments.shown(value)}"
            )
        rate = arguments.real(self.name, "learning_rate", value, minimum=0)
        self._schedule = None
        assign(self._learning_rate, np.array([rate]))

    def _rate_after(self, calls: int) -> float:
        assert self._schedule is not None
        rate = self._schedule(calls) if isinstance(self._schedule, LearningRateSchedule) else self._schedule()
        return arguments.real(self.name, "learning_rate", rate, minimum=0)

    @property
    def calls(self) -> int:
        """The number of batches that gave gradients."""
        return int(to_host(self._iterations)[0])

    @property
    def iterations(self) -> int:
        """The number of updates."""
        return self.calls // self._every

    @property
    def nbytes(self) -> int:
        """The bytes of gradients and slots."""
        return sum(array.nbytes for group in self._groups for array in (group.gradients, *group.slots.values()))

    @property
    def variables(self) -> dict[str, Array]:
        """Everything that a checkpoint must keep: 'iterations', 'learning_rate', and 'dense/kernel/momentum' etc.

        'iterations' counts batches, of which `gradient_accumulation_steps` may make one update.
        """
        self._turn.calls = None  # whoever has them may change the count
        slots = {f"{path}/{name}": slot for path, slots in self._slots.items() for name, slot in slots.items()}
        return {"iterations": self._iterations, "learning_rate": self._learning_rate, **slots}

    def initial_value(self, name: str) -> float:
        """Return what the variable called `name` is before the first step."""
        return self.kept_slots.get(name.rpartition("/")[2], 0.0)

    def set_variables(self, values: Mapping[str, Any]) -> None:
        """Copy what `variables` held, host arrays, back into an optimizer built for the same parameters.

        ValueError, before anything changes, if names or shapes differ.
        """
        for path, parameter in self._parameters.items():  # some may have been frozen since
            if path not in self._slots and any(f"{path}/{name}" in values for name in self.kept_slots):
                self._slots[path] = {name: zeros_like(parameter.value) for name in self.kept_slots}
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
