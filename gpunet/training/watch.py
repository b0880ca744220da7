"""Watch: the first step whose loss or gradients are not finite is found, named, and taken back or warned of.

In each step the device notes whether something is not finite, after the backward pass and before the update. In the
first such step it keeps what the update is about to change, and the batch (ops/nonfinite.py); what a forward pass
changes, the counters of random streams above all, is kept at the beginning of each step until then. So the host reads
the notes only where it reads the loss, and can still go back, however many steps later: it runs the batch once more,
and looks at everything (training/diagnosis.py). On the CPU, where nothing has to be waited for, it looks at each step.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import TypeAlias

import numpy as np

from gpunet import changes
from gpunet.backend.arrays import CPU, Array, assign, contiguous, fill, to_host, zeros_like
from gpunet.metrics import Metric
from gpunet.networks.network import Network
from gpunet.ops.nonfinite import first_note, keep_if_noted, new_notes, note_nonfinite
from gpunet.optimizers import Optimizer
from gpunet.optimizers.flat import FlatParameters
from gpunet.training.diagnosis import first_nonfinite
from gpunet.training.unchanged import unchanged

_MOST_KINDS = 16  # shapes of batches for which copies can be kept; after a step of any other the host looks at once


class NonFinite(Enum):
    """What is done about an infinity or NaN in the loss or in a gradient."""

    IGNORE = "ignore"
    WARN = "warn"
    RAISE = "raise"


# Does on the arrays of a batch again what a step does, but for the update.
Repeat: TypeAlias = Callable[..., None]


class Watch:
    """Watches the steps of `network`, which add to `metrics`; these stay as they are where a step is run again.

    `labels` say for each array of a batch what it is, and its name in errors.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        metrics: Sequence[Metric],
        action: NonFinite,
        labels: Sequence[tuple[str, str]],
    ) -> None:
        self._network_reference = weakref.ref(network)  # which keeps whoever has the watch
        self._optimizer = optimizer
        self._metrics = metrics
        self._action = action
        self._labels = labels
        self._notes = new_notes(network.device)
        self._groups: list[tuple[FlatParameters, Array]] = []  # with copies of values and slots
        self._changed_forward: list[tuple[Array, Array]] = []  # what a forward pass may change, and copies
        self._stamp: object = None
        self._batches: dict[Hashable, tuple[Array, ...]] = {}  # copies, by shape and dtype; kinds count from 1
        self._batch: tuple[Array, ...] = ()  # the running one, unless a graph runs it
        self._kind = 0  # that of the running batch; 0 if no copy is kept
        self.next_number: int | None = None  # that of the next batch in its epoch, if anybody counts
        self._has_warned = False

    @property
    def _network(self) -> Network:
        network = self._network_reference()
        assert network is not None, "a step is taken of a model that is there"
        return network

    @contextmanager
    def step(self, repeat: Repeat) -> Iterator[None]:
        """Run a step inside a `with` block; errors are those of `look`."""
        self._kind = -1  # which a graph, that has its own, leaves as it is
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # whoever watches is told once
            yield
        self.next_number = None if self.next_number is None else self.next_number + 1
        if self._kind == 0:
            self.look(repeat)

    def begin(self, batch: tuple[Array, ...], repeat: Repeat) -> None:
        """Keep, before the forward pass of a batch, what that changes; errors are those of `look`."""
        self._collect(repeat)
        self._batch = batch
        self._kind = self._kind_of(self._batch)
        keep_if_noted(self._notes, None, self._changed_forward)

    def before_update(self, loss: Array, iterations: Array, runs: Sequence[Sequence[slice]]) -> None:
        """Note the step if the loss, or a gradient in `runs` of each group, is not finite; then keep what there is."""
        notes, kind = self._notes, self._kind
        for (group, _), present in zip(self._groups, runs, strict=True):
            for run in present:
                note_nonfinite(group.values, group.gradients, group.rules, run, loss, iterations, notes, kind)
        pairs = [(group.state, copy) for group, copy in self._groups]
        if kind:
            copies = list(self._batches.values())[kind - 1]
            pairs += [(contiguous(array), copy) for array, copy in zip(self._batch, copies, strict=True)]
        keep_if_noted(notes, iterations, pairs)

    def _collect(self, repeat: Repeat) -> None:
        """Find what has to be kept, and make room for it, where anything has changed."""
        stamp = changes.count(), self._optimizer.groups
        if stamp == self._stamp:
            return
        network, device = self._network, self._network.device
        sources = [stream.counter_on(device) for stream in network.streams]
        sources += [parameter.value for parameter in network.fixed_weights]
        groups = self._optimizer.groups
        same_groups = _are_same([group for group, _ in self._groups], groups)
        same_sources = _are_same([source for source, _ in self._changed_forward], sources)
        if not (same_groups and same_sources):
            self.look(repeat)  # while the copies are those that the notes speak of
        if not same_groups:
            self._groups = [(group, zeros_like(group.state)) for group in groups]
        if not same_sources:
            self._changed_forward = [(source, zeros_like(source)) for source in sources]
        self._stamp = stamp

    def _kind_of(self, batch: tuple[Array, ...]) -> int:
        """Return the number of the copies for batches like this one; 0 if there are none."""
        if self._network.device == CPU:
            return 0
        key = tuple((array.shape, array.dtype.name) for array in batch)
        if key not in self._batches:
            if len(self._batches) == _MOST_KINDS:
                return 0
            self._batches[key] = tuple(map(zeros_like, batch))
        return list(self._batches).index(key) + 1

    def look(self, repeat: Repeat) -> None:
        """Read the notes, for which the host waits. FloatingPointError, or one warning, if a step is noted."""
        note = None if self._has_warned else first_note(to_host(self._notes))
        if note is None:
            return
        step, kind = note
        batch = self._batch if kind == 0 else list(self._batches.values())[kind - 1]
        place = self._place(step)
        if self._action is NonFinite.RAISE:
            self._go_back(step)
        with unchanged(self._network, self._optimizer, self._metrics):
            self._go_back(step)
            found = first_nonfinite(self._network, repeat, batch, self._labels)
        text = f"{self._network.where}: {found.kind} must be finite; got {found.text}, in {place}"
        is_data = found.kind in ("x", "y", "sample_weight")
        advice = "correct the data" if is_data else "a smaller learning_rate, or clipnorm, may help"
        if self._action is NonFinite.RAISE:
            fill(self._notes, 0)
            raise FloatingPointError(f"{text}; the model is as it was before that step; {advice}")
        self._has_warned = True
        warnings.warn(f"{text}; training goes on, without further warnings; {advice}", stacklevel=2)

    def _place(self, step: int) -> str:
        """Return which step it was, in words; the running batch may be some steps further."""
        place = f"step {step}"
        if self.next_number is None:
            return place
        number = self.next_number - 1 - (self._optimizer.calls - step)
        return f"{place}, batch {number} of its epoch" if number >= 0 else place

    def _go_back(self, step: int) -> None:
        """Give everything the values that it had before `step`, wherever an optimizer has put it since."""
        variables = self._optimizer.variables
        assign(variables["iterations"], np.array([step - 1]))
        for group, copy in self._groups:
            if any(group is one for one in self._optimizer.groups):
                assign(group.state, copy)
                continue
            for parameter, value in zip(group.parameters, group.layout.views(copy[0]), strict=True):
                assign(parameter.value, value)
            for row, name in enumerate(group.slots, start=1):
                for parameter, slot in zip(group.parameters, group.layout.views(copy[row]), strict=True):
                    assign(variables[f"{parameter.path}/{name}"], slot)
        for source, copy in self._changed_forward:
            assign(source, copy)


def _are_same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(map(lambda one, other: one is other, some, others))
