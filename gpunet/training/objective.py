"""The objective: the losses of all outputs, their weights and running means, and the metrics.

    total = sum over outputs i of weight_i loss_i         and the penalties, which the step adds

    dz_i  = weight_i dloss_i / dy_i

Where there are several losses each has a running mean of its own, as Keras shows them; that of the total weighs batches
by their samples, whatever weights these have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy.typing as npt

from gpunet.backend.arrays import Array, Device, zeros_like
from gpunet.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy
from gpunet.metrics import Mean, Metric
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.arithmetic import scale
from gpunet.ops.softmax import softmax
from gpunet.ops.trace import show
from gpunet.training.batch_parts import PartLoss, Taken, loss_over_parts
from gpunet.training.heads import Head, log_names

Logs: TypeAlias = dict[str, float]


class Roles(NamedTuple):
    """The arrays of a batch, or of some of its rows.

    There is a target for each output that has a loss or a metric, and either no weights or one array for each target.
    """

    inputs: Sequence[Array]
    targets: Sequence[Array]
    weights: Sequence[Array]

    def rows(self, rows: slice) -> Roles:
        return Roles(*([array[rows] for array in arrays] for arrays in self))


class Objective:
    """What a network of so many `inputs` is trained for by `heads`, one for each output.

    `targeted` are the heads that have a target, in the order of the outputs. `counted` is all that is averaged, the
    total first. `result_names` has the names of results in the order in which Keras lists their values: the total, the
    metrics that are logged by names of their own, the losses of the outputs, and then the rest by name.
    """

    def __init__(self, where: str, heads: Sequence[Head], inputs: int) -> None:
        self.heads = list(heads)
        self.inputs = inputs
        self.total = Mean("loss")
        self._logits = [None if head.loss is None else _from_logits(head.loss) for head in heads]
        self._targeted = [number for number, head in enumerate(heads) if head.has_target]
        losses = [head for head in heads if head.loss is not None]
        self._means = {head.output: Mean(f"{head.output}_loss") for head in losses} if len(losses) > 1 else {}
        self._is_plain = len(losses) == 1 and losses[0].weight == 1
        self._named = log_names(where, heads)
        self.targeted = [head for head in heads if head.has_target]
        self.counted = [self.total, *self._named.values(), *self._means.values()]
        self.result_names = self._result_names()

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of all outputs."""
        return list(self._named.values())

    def roles(self, arrays: Sequence[Array]) -> Roles:
        """Return what the arrays of a batch are."""
        split = self.inputs + len(self._targeted)
        return Roles(arrays[: self.inputs], arrays[self.inputs : split], arrays[split:])

    def labels(self, inputs: Sequence[str]) -> list[tuple[str, str]]:
        """Return, for each array of a batch, what it is and what a user calls it."""
        outputs = [head.output for head in self.targeted]
        labels = [("x", "x")] if len(inputs) == 1 else [("x", f"x[{name!r}]") for name in inputs]
        for what in ("y", "sample_weight"):
            labels += [(what, what if len(self.heads) == 1 else f"{what}[{output!r}]") for output in outputs]
        return labels

    # Running.

    def takes_logits(self, softmax_outputs: Sequence[bool]) -> list[bool]:
        """Return for which outputs the loss takes what lies before a softmax, for a network that can stop there."""
        return [loss is not None and stops for loss, stops in zip(self._logits, softmax_outputs, strict=True)]

    def used_loss(self, number: int, takes_logits: bool) -> Loss | None:
        """Return the loss of output `number`, or of its logits."""
        return self._logits[number] if takes_logits else self.heads[number].loss

    def over_parts(
        self, batch: Roles, takes_logits: Sequence[bool], dtype: npt.DTypeLike, parts: int
    ) -> list[PartLoss | None]:
        """Return what adds the losses of the parts of a batch to running means, for each output that has a target."""
        found: list[PartLoss | None] = []
        for place, number in enumerate(self._targeted):
            loss = self.used_loss(number, takes_logits[number])
            weight = batch.weights[place] if batch.weights else None
            found.append(None if loss is None else loss_over_parts(loss, batch.targets[place], dtype, parts, weight))
        return found

    def forward(
        self, losses: Sequence[PartLoss | None], part: Roles, outputs: Sequence[Array], device: Device
    ) -> tuple[list[Array], Callable[[], list[Array]]]:
        """Add the losses of a part of a batch to the running means; return them, and what gives all gradients."""
        taken: dict[int, Taken] = {}
        for place, number in enumerate(self._targeted):
            loss, head = losses[place], self.heads[number]
            if loss is None:
                continue
            weight = part.weights[place] if part.weights else None
            batch = part.targets[place], outputs[number], weight
            taken[number] = self._add(head, loss, batch, device, is_first=not taken)

        def backward() -> list[Array]:
            found = []
            for number, (head, y) in enumerate(zip(self.heads, outputs, strict=True)):
                dy = taken[number].gradient() if number in taken else zeros_like(y)
                found.append(dy if head.weight == 1 else scale(dy, head.weight))
            return found

        return [one.value for one in taken.values()], backward

    def _add(
        self, head: Head, loss: PartLoss, batch: tuple[Array, Array, Array | None], device: Device, is_first: bool
    ) -> Taken:
        """Take one loss, and add it to its own mean and to the total's."""
        total = self.total.state_on(device)
        if self._is_plain:
            return loss(*batch, total)
        taken = loss(*batch, self._means[head.output].state_on(device) if self._means else None)
        weighted = taken.value if head.weight == 1 else scale(taken.value, head.weight)
        show(weighted)
        accumulate_mean(total, weighted, taken.times, len(batch[1]) if is_first else 0)
        return taken

    def update_metrics(self, part: Roles, outputs: Sequence[Array], takes_logits: Sequence[bool]) -> None:
        """Add a part of a batch to the metrics."""
        for place, number in enumerate(self._targeted):
            head, y_pred = self.heads[number], outputs[number]
            both = (*head.metrics, *head.weighted)
            if takes_logits[number] and any(metric.needs_probabilities for metric in both):
                y_pred = softmax(y_pred)
            for metric in head.metrics:
                metric.update_state(part.targets[place], y_pred)
            given = {"sample_weight": part.weights[place]} if part.weights else {}
            for metric in head.weighted:
                metric.update_state(part.targets[place], y_pred, **given)

    # Results.

    def reset(self) -> None:
        """Begin new means."""
        for metric in self.counted:
            metric.reset_state()

    def state(self) -> list[dict[str, Any]]:
        """Return all running means, for a checkpoint."""
        return [metric.get_state() for metric in self.counted]

    def restore(self, state: Sequence[Mapping[str, Any]], device: Device) -> None:
        """Go on from the running means that `state` returned."""
        for metric, values in zip(self.counted, state, strict=True):
            metric.set_state(values, device)

    def results(self) -> Logs:
        """Return the means so far, sorted by name as Keras's logs are; the host waits for the device."""
        logs = {"loss": self.total.result()} | {name: metric.result() for name, metric in self._named.items()}
        logs |= {metric.name: metric.result() for metric in self._means.values()}
        return dict(sorted(logs.items()))

    def _result_names(self) -> list[str]:
        all_names = ["loss", *self._named, *(mean.name for mean in self._means.values())]
        first = ["loss", *(metric.name for metric in self.counted[1:] if metric.name in all_names)]
        return [*first, *sorted(set(all_names) - set(first))]


def _from_logits(loss: Loss) -> Loss | None:
    """Return the loss that runs as one op with a final softmax, stable for any logits; None if there is none."""
    if isinstance(loss, (CategoricalCrossentropy, SparseCategoricalCrossentropy)):
        return loss.with_logits() if loss.is_known and not loss.from_logits else None
    return None
