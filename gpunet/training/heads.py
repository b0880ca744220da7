"""Heads: how each output of a network is trained and judged, as `compile` was told in one of Keras's forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpunet import arguments, losses
from gpunet import metrics as metrics_module
from gpunet.layers.shapes import Dims
from gpunet.losses import Loss
from gpunet.metrics import Metric
from gpunet.training.structure import check_names, in_order, is_nested, leaves, mapped


class Head(NamedTuple):
    """One output: its name and shape, its loss, which counts `weight` times in the total, and its metrics.

    `weighted` are metrics that weigh samples as the loss does, where these have weights.
    """

    output: str
    shape: Dims
    loss: Loss | None
    weight: float = 1.0
    metrics: tuple[Metric, ...] = ()
    weighted: tuple[Metric, ...] = ()

    @property
    def has_target(self) -> bool:
        return self.loss is not None or bool(self.metrics or self.weighted)


@dataclass(frozen=True)
class Plan:
    """The arguments of `compile` that speak of outputs; losses are objects, in the form in which they were given."""

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None

    @property
    def has_loss(self) -> bool:
        return any(True for _ in leaves(self.loss))

    def heads(self, where: str, outputs: Sequence[str], shapes: Sequence[Dims]) -> list[Head]:
        """Return how each of `outputs` is trained; ValueError if the arguments are not made for these."""
        chosen = self._losses(where, outputs)
        weights = self._weights(where, outputs, chosen)
        plain = _metrics(where, "metrics", self.metrics, outputs)
        weighted = _metrics(where, "weighted_metrics", self.weighted_metrics, outputs)
        found = []
        for number, (output, loss, shape) in enumerate(zip(outputs, chosen, shapes, strict=True)):
            made = [
                tuple(metrics_module.get(metric, loss, shape) for metric in wanted[number])
                for wanted in (plain, weighted)
            ]
            found.append(Head(output, shape, loss, weights[number], made[0], made[1]))
        log_names(where, found)
        return found

    def _losses(self, where: str, outputs: Sequence[str]) -> list[Loss | None]:
        if not is_nested(self.loss):
            return [self.loss] * len(outputs)
        check_names(where, "loss", self.loss, outputs)
        return in_order(where, "loss", self.loss, outputs, "losses")

    def _weights(self, where: str, outputs: Sequence[str], chosen: Sequence[Loss | None]) -> list[float]:
        """Return the weights of the losses, 1 where there is no loss."""
        given = self.loss_weights
        if given is None:
            return [1.0] * len(outputs)
        trained = [output for output, loss in zip(outputs, chosen, strict=True) if loss is not None]
        if isinstance(given, Mapping):
            check_names(where, "loss_weights", given, outputs)
            weights = dict(zip(trained, in_order(where, "loss_weights", given, trained, "numbers"), strict=True))
        elif is_nested(given) or len(outputs) > 1:
            weights = dict(zip(outputs, in_order(where, "loss_weights", given, outputs, "numbers"), strict=True))
        else:
            weights = {outputs[0]: given}
        for output in trained:
            weights[output] = arguments.real(where, "loss_weights", weights[output])
        return [weights[output] if output in trained else 1.0 for output in outputs]


def new_plan(where: str, loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any) -> Plan:
    """Return the arguments of `compile`, as far as they can be checked before the outputs are known."""
    chosen = mapped(loss, lambda one: losses.get(one, f"{where}: loss"))
    for one in leaves(chosen):
        if one.reduction in (None, "none"):
            raise ValueError(f"{where}: loss must reduce to one number; got reduction={one.reduction!r}")
    for weight in leaves(loss_weights):
        arguments.real(where, "loss_weights", weight)
    for name, asked in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
        for metric in leaves(asked):
            if metrics_module.get(metric, where=f"{where}: {name}").name == "loss":
                raise ValueError(f"{where}: {name} must have other names than 'loss'; got a metric of this name")
    asked = [one if one is None or is_nested(one) else [one] for one in (metrics, weighted_metrics)]
    return Plan(chosen, loss_weights, *asked)


def are_metrics(value: Any) -> bool:
    """Tell whether `value` holds metrics, as objects or by known names, and nothing else."""
    found = list(leaves(value))
    try:
        return bool(found) and all(isinstance(one, (str, Metric)) and metrics_module.get(one) for one in found)
    except ValueError:
        return False


def _metrics(where: str, name: str, asked: Any, outputs: Sequence[str]) -> list[list[Any]]:
    """Return the metrics that were asked for, for each output."""
    if asked is None or len(outputs) == 1:
        return [list(leaves(asked))] * len(outputs)
    if isinstance(asked, Mapping) and is_nested(asked):
        check_names(where, name, asked, outputs)
        return [list(leaves(asked.get(output))) for output in outputs]
    if isinstance(asked, (list, tuple)) and not asked:
        return [[]] * len(outputs)
    return [list(leaves(one)) for one in in_order(where, name, asked, outputs, "lists of metrics")]


def log_names(where: str, heads: Sequence[Head]) -> dict[str, Metric]:
    """Return the metrics of `heads` by the names that logs have, in Keras's order; ValueError if one is a loss's."""
    names: dict[str, Metric] = {}
    counts: dict[str, int] = {}
    several = len(heads) > 1

    def add(name: str, metric: Metric) -> None:
        """Take `name` or, where another metric has it, the name with a number."""
        count = counts.get(name, 0)
        counts[name] = count + 1
        names[f"{name}_{count}" if count else name] = metric

    prefixes = [f"{head.output}_" if several else "" for head in heads]
    for prefix, head in zip(prefixes, heads, strict=True):
        for metric in head.metrics:
            add(f"{prefix}{metric.name}", metric)
    for prefix, head in zip(prefixes, heads, strict=True):
        for metric in head.weighted:
            name = f"{prefix}{metric.name}"
            add(f"{prefix}weighted_{metric.name}" if name in counts else name, metric)
    taken = {"loss", *(f"{head.output}_loss" for head in heads if several)} & set(names)
    if taken:
        raise ValueError(f"{where}: metrics must have other names than losses; got {arguments.shown(min(taken))}")
    return names
