"""What is chosen for an optimizer: the arguments that all of them have, checked, and its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

import numpy as np

from gpunet import arguments, identifiers
from gpunet.backend.arrays import Array
from gpunet.identifiers import snake_case
from gpunet.optimizers import schedules
from gpunet.optimizers.schedules import LearningRateSchedule
from gpunet.optimizers.schedules.base import KnownSchedule

# A number, a schedule, a function without arguments, or the configuration of one of these.
Rate: TypeAlias = float | Callable[..., float] | Mapping[str, Any]

_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
# What `get_config` leaves out where nothing else is chosen.
_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("weight_decay", *_CLIPS)),
    **{"use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None},
    **{"loss_scale_factor": None, "gradient_accumulation_steps": None},
}


class Settings:
    """The arguments of `Optimizer`, as attributes of their names; base.py says what they do."""

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
        where = type(self).__name__
        self.name = arguments.text(where, "name", name, snake_case(where))
        self._learning_rate: Array = np.zeros(1)
        self._schedule: Callable[..., float] | None = None
        self._schedule_numbers: Array | None = None  # of a schedule that the device computes
        self._rates_taken = 0  # among the hyperparameters, so that a captured step ends with its schedule
        self._take_rate(where, learning_rate)
        self.weight_decay = None if weight_decay is None else arguments.real(where, "weight_decay", weight_decay, 0)
        clips = dict(zip(_CLIPS, (clipnorm, clipvalue, global_clipnorm), strict=True))
        given = {key: arguments.real(where, key, value, 0) for key, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"{where}: only one of {', '.join(clips)} must be given; got {', '.join(given)}")
        self.clipnorm, self.clipvalue, self.global_clipnorm = (given.get(key) for key in clips)
        self.use_ema = arguments.boolean(where, "use_ema", use_ema)
        self.ema_momentum = arguments.real(where, "ema_momentum", ema_momentum, minimum=0, maximum=1)
        self.ema_overwrite_frequency = _count(where, "ema_overwrite_frequency", ema_overwrite_frequency, 1)
        self.loss_scale_factor = _factor(where, loss_scale_factor)
        steps = _count(where, "gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self.gradient_accumulation_steps = steps

    def _take_rate(self, where: str, rate: Rate) -> None:
        """Take what was given as the learning rate; what a device is to compute with stays on the host."""
        self._rates_taken += 1
        if isinstance(rate, Mapping):
            place = f"{where}: learning_rate"
            known = identifiers.is_function(rate)
            rate = identifiers.deserialize_function(place, rate) if known else schedules.deserialize(rate, place)
        if isinstance(rate, LearningRateSchedule) or callable(rate):
            self._schedule, self._schedule_numbers = rate, None
            if isinstance(rate, KnownSchedule) and not rate.is_overridden:
                self._schedule_numbers = np.array(rate.numbers)
            return
        self._learning_rate = np.array([arguments.real(where, "learning_rate", rate, minimum=0)])

    @property
    def hyperparameters(self) -> tuple[Any, ...]:
        """The plain attributes, on which the launches of a step depend; not the learning rate."""
        plain = {
            key: value for key, value in vars(self).items() if value is None or isinstance(value, (int, float, str))
        }
        plain.pop("averages_in_use", None)  # which changes at every evaluation, and what a step launches does not
        return tuple(plain.values())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        config = {"name": self.name, "learning_rate": self._rate_config()}
        chosen = {key: getattr(self, key) for key in _DEFAULTS}
        return config | {key: value for key, value in chosen.items() if value != _DEFAULTS[key]}

    def _rate_config(self) -> Any:
        if isinstance(self._schedule, LearningRateSchedule):
            return identifiers.serialize(self._schedule)
        if self._schedule is not None:
            return identifiers.serialize_function(self._schedule)
        return self.learning_rate

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the optimizer that `get_config` described, not built."""
        return cls(**config)


def _count(where: str, name: str, value: object, minimum: int) -> int | None:
    return None if value is None else arguments.integer(where, name, value, minimum)


def _factor(where: str, value: object) -> float | None:
    """Return a factor of the loss, more than 0, by which a float32 can be divided."""
    smallest = float(np.finfo(np.float32).tiny)
    return None if value is None else arguments.real(where, "loss_scale_factor", value, smallest, 1 / smallest)
