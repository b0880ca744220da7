"""What every optimizer does: it keeps slots beside the parameters and changes these by their gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import ClassVar, TypeAlias

import numpy as np

from gpunet.backend.arrays import Array, assign
from gpunet.backend.interrupts import undisturbed
from gpunet.ops import arithmetic, averaging, preparation
from gpunet.ops.learning_rate import scheduled_rate
from gpunet.ops.optimizer_step import advance
from gpunet.optimizers.flat import FlatParameters
from gpunet.optimizers.kept import ACCUMULATOR, AVERAGE, Kept
from gpunet.optimizers.schedules import LearningRateSchedule
from gpunet.optimizers.schedules.base import KnownSchedule
from gpunet.parameters import Parameter

# Called with the count of calls, this one included, and for each group the numbers of parameters with a gradient.
BeforeUpdate: TypeAlias = Callable[[Array, Sequence[Sequence[slice]]], None]


class Optimizer(Kept, ABC):
    """w = update(w, gradient), once a step, for every trainable parameter that has a gradient.

    Before it, the gradients of penalties on weights are added; then gradients are clipped, each to a norm of at most
    `clipnorm`, or all together to `global_clipnorm`, or each number to at most `clipvalue`, of which one may be given;
    then w decays by `weight_decay` learning_rate w, but for parameters that `exclude_from_weight_decay` names. After it
    w is made to fulfil its constraint.

    `learning_rate` is a number, a schedule (optimizers/schedules), or a function without arguments, called before each
    step. `gradient_accumulation_steps` lets only every so manieth call update, by the mean of the gradients since the
    last update; schedules count all calls. With `use_ema` an average of the weights is kept, average = ema_momentum
    average + (1 - ema_momentum) w after each call; w becomes it at the end of `fit`, and after every
    `ema_overwrite_frequency` updates. `loss_scale_factor` multiplies the gradient of the loss before the backward pass;
    what comes of it is divided by it.

    Learning rate and step count lie in device memory, where the kernels read them, so that a captured CUDA graph needs
    no change from step to step. A frozen parameter is not touched and has no slots. The trained ones lie side by side
    in one array (optimizers/flat.py), so that each of these acts is one kernel for the whole model.

    An own optimizer is a subclass with `update`, and with `slot_names` if it keeps something beside each parameter.
    """

    # Whether an element of w depends on the same element of gradient and slots alone: then `update` is called once,
    # with the flat arrays of all parameters, else once for each parameter.
    element_wise: ClassVar[bool] = False

    def scale_gradients(self, factor: float) -> None:
        """Multiply by `factor` what `arrange`d parameters have of a gradient so far."""
        for group in self._groups:
            arithmetic.scale_in_place(group.gradients, factor)

    @contextmanager
    def step(self) -> Iterator[bool]:
        """Prepare a call of `apply` inside a `with` block, which is to be there or in a graph; tell whether it updates.

        What depends on the count of calls is settled here on the host, above all a learning rate that no kernel knows.
        """
        turn = self._turn
        calls = self._count_calls() if self._every > 1 or self._needs_calls else None
        turn.calls = None  # as long as nobody knows how it ends
        self._set_own_rate(calls)
        turn.updates = calls is None or (calls + 1) % self._every == 0
        turn.is_running = True
        try:
            yield turn.updates
        finally:
            turn.is_running = False
        if calls is not None and self._groups:
            turn.calls = calls + 1

    def _count_calls(self) -> int:
        """Return the count of calls so far; the device is read only if it may have been changed from outside."""
        return self.calls if self._turn.calls is None else self._turn.calls

    @property
    def _needs_calls(self) -> bool:
        return isinstance(self._schedule, LearningRateSchedule) and self._schedule_numbers is None

    def _set_own_rate(self, calls: int | None) -> None:
        """Ask the user's own schedule or function, if there is one, for the learning rate."""
        if self._schedule is not None and self._schedule_numbers is None:
            assign(self._learning_rate, np.array([self._rate_after(calls or 0)]))

    def apply(self, parameters: Sequence[Parameter], before_update: BeforeUpdate | None = None) -> None:
        """Take one step: update the trainable parameters that have a gradient, and drop all gradients.

        `before_update` is called while gradients are in the groups, as they came from the backward pass and from
        penalties that are the user's own, and weights and slots are still those of before. Builds the optimizer if
        nobody has. ValueError if no trainable parameter has a gradient, or if one is unknown. Ctrl-C waits for the end:
        weights, slots and step count are always those of one step.
        """
        self.build(parameters)
        self.arrange(parameters)
        with undisturbed(), nullcontext() if self._turn.is_running else self.step():
            self._apply(parameters, before_update)

    def _apply(self, parameters: Sequence[Parameter], before_update: BeforeUpdate | None) -> None:
        runs = [group.runs() for group in self._groups]
        if any(runs):
            self._count()
        elif self._groups:
            raise ValueError(f"{self.name}: parameters must have gradients; got none; run a backward pass first")
        if self.loss_scale_factor is not None:
            self.scale_gradients(1 / self.loss_scale_factor)
        for group in self._groups:
            group.add_own_penalty_gradients()
        if before_update is not None:
            before_update(self._iterations, runs)
        for group, present in zip(self._groups, runs, strict=True):
            self._accumulate(group, present)
            if self._turn.updates:
                self._prepare(group, present)
                self.update_group(group, present)
            if self.use_ema:
                period = self.ema_overwrite_frequency or 0
                average = group.slots[AVERAGE]
                averaging.average(group.values, average, self._iterations, self.ema_momentum, self._every, period)
            group.constrain()
        for parameter in parameters:
            parameter.gradient = None

    def _count(self) -> None:
        """Count the call, and compute what follows from the count."""
        if self._schedule_numbers is not None:
            assert isinstance(self._schedule, KnownSchedule)
            scheduled_rate(self._iterations, self._schedule_numbers, self._learning_rate, self._schedule.formula)
        if self._turn.updates:
            self.advance()
        else:
            advance(self._iterations)

    def _accumulate(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        """Add up gradients, if several calls make one update; at the last of them, replace them by their mean."""
        for run in runs if self._every > 1 else ():
            span = group.layout.span(run.start, run.stop)
            gradient, total = group.gradients[span], group.slots[ACCUMULATOR][span]
            if self._turn.updates:
                averaging.mean_gradient(gradient, total, self._every)
            else:
                arithmetic.add_in_place(total, gradient)

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

    def update_group(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        """Update the parameters of `group` that have a gradient: those in `runs`, slices of their numbers."""
        if self.element_wise:
            for run in runs:
                self.update(*group.parts(group.layout.span(run.start, run.stop)))
            return
        for parameter in group.parameters:
            if parameter.gradient is not None:
                self.update(parameter.value, parameter.gradient, group.slots_by_path[parameter.path])

    def finalize_variable_values(self, var_list: Iterable[Parameter]) -> None:
        """Give the parameters in `var_list` the averages of their weights, if those are kept; at the end of `fit`."""
        for parameter in var_list:
            slots = self._slots.get(parameter.path, {})
            if self.use_ema and AVERAGE in slots:
                pair = parameter.value, slots[AVERAGE]
                assign(*(reversed(pair) if self.averages_in_use else pair))
        self.averages_in_use = False

    def swap_averages(self) -> None:
        """Exchange the trained weights and their averages, in place; a second time brings each back.

        ValueError unless averages are kept.
        """
        if not self.use_ema:
            raise ValueError(f"{self.name}: use_ema must be True for weights to be exchanged with their averages")
        for group in self._groups:
            averaging.swap(group.values, group.slots[AVERAGE])
        self.averages_in_use = not self.averages_in_use

    @abstractmethod
    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        """Change the weights `w` and `slots`, the arrays named in `slot_names`, in place; all have one shape."""

    def advance(self) -> None:
        """Count a step on the device, before the updates of that step."""
        advance(self._iterations)


class GroupOptimizer(Optimizer):
    """An optimizer that does not treat all parameters alike: it has `update_group` in the place of `update`."""

    @abstractmethod
    def update_group(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        """Update the parameters of `group` that have a gradient: those in `runs`, slices of their numbers."""

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        raise NotImplementedError(f"{self.name} updates its parameters by update_group")
