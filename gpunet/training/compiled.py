"""Compiled: a network that knows how it is to be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpunet import arguments, losses, optimizers
from gpunet import metrics as metrics_module
from gpunet.backend.interrupts import undisturbed
from gpunet.backend.shortage import charged
from gpunet.identifiers import serialize
from gpunet.losses import Loss
from gpunet.metrics import Metric
from gpunet.networks.network import Network
from gpunet.optimizers import Optimizer
from gpunet.training.step import Step
from gpunet.training.watch import NonFinite


class Compiled(Network):
    """A network with an optimizer, a loss and metrics."""

    compiled = False
    optimizer: Optimizer | None = None
    loss: Loss | None = None
    _asked_metrics: Sequence[Any] = ()
    run_eagerly = False
    batch_parts = 1
    nonfinite = NonFinite.IGNORE.value
    _metrics: list[Metric] | None = None  # None until the output's shape is known
    _step: Step | None = None
    _step_parts: tuple[object, ...] = ()  # what _step was made for

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes over: all but the running step, which is bound to this model's arrays."""
        return {key: value for key, value in vars(self).items() if key not in ("_step", "_step_parts")}

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = None,
        *,
        run_eagerly: bool = False,
        jit_compile: bool | str = "auto",
        batch_parts: int = 1,
        nonfinite: str = "ignore",
    ) -> None:
        """Choose how to train: an optimizer, a loss and a list of metrics, by name or as objects.

        The optimizer is Adam if none is named (Keras's default, RMSprop, is not here yet). A loss is needed to fit and
        to evaluate. On a GPU a step becomes one CUDA graph, unless `run_eagerly`; `jit_compile` is taken for Keras's
        sake and changes nothing.

        `batch_parts` trains and evaluates every batch in so many parts, one after the other, in the memory of one: a
        batch of n samples in parts whose sizes differ by 1 at most, n of them if it has fewer samples. There is one
        update a batch, with the gradient of the whole batch: each part counts by its samples, penalties on weights
        count once. Loss, metrics and weights are those of whole batches up to rounding, but a dropout draws a mask for
        each part, and a layer of your own sees the parts. (Keras's `gradient_accumulation_steps` is another thing: it
        makes one update out of several batches.)

        ValueError for an unknown name, with the known ones.

        `nonfinite` says what is done about an infinity or NaN in the loss or in a gradient of training: 'raise' puts
        the model back to what it was before that step and raises FloatingPointError, which names the layer and the
        array that had it first; 'warn' says the same once and goes on. On a GPU that is noticed when the loss is read,
        at the end of an epoch, or when a callback or the progress bar does; memory is kept for a second copy of the
        weights, the optimizer's slots and a batch. Steps count from 1, batches of an epoch from 0, and samples
        within their batch, or their part of it.

        >>> model = Sequential([Input((4,)), Dense(3, activation="softmax")])
        >>> model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        """
        where = f"{self.where}.compile"
        run_eagerly = arguments.boolean(where, "run_eagerly", run_eagerly)
        arguments.choice(where, "jit_compile", jit_compile, (True, False, "auto"))
        batch_parts = arguments.integer(where, "batch_parts", batch_parts)
        arguments.choice(where, "nonfinite", nonfinite, [action.value for action in NonFinite])
        new_optimizer = optimizers.get(optimizer, f"{where}: optimizer")
        new_loss = None if loss is None else losses.get(loss, f"{where}: loss")
        if new_loss is not None and new_loss.reduction in (None, "none"):
            raise ValueError(f"{where}: loss must reduce to one number; got reduction={new_loss.reduction!r}")
        asked = [] if metrics is None else list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        names = [metrics_module.get(metric, where=f"{where}: metrics").name for metric in asked]
        if len({"loss", *names}) <= len(names):
            raise ValueError(f"{where}: metrics must have different names, none of them 'loss'; got {names}")
        with undisturbed():
            self.optimizer, self.loss, self.run_eagerly = new_optimizer, new_loss, run_eagerly
            self.batch_parts, self.nonfinite = batch_parts, nonfinite
            self._asked_metrics, self._metrics = asked, None
            self.compiled = True

    @property
    def metrics(self) -> list[Metric]:
        """The metrics beside the loss; empty until the model is compiled and built."""
        if not (self.compiled and self.built):
            return []
        if self._metrics is None:
            self._metrics = [metrics_module.get(metric, self.loss, self.output_shape) for metric in self._asked_metrics]
        return self._metrics

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def check_compiled(self, where: str) -> Loss:
        """Return the loss; ValueError unless the model was compiled with one."""
        if not self.compiled:
            raise ValueError(f"{where}: the model must be compiled first; call compile(optimizer, loss, metrics)")
        if self.loss is None:
            raise ValueError(f"{where}: loss must be given to compile; got None")
        return self.loss

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, in JSON's types; empty if the model is not compiled."""
        if not self.compiled:
            return {}
        named = [
            metric if isinstance(metric, (str, Mapping)) else serialize(metrics_module.get(metric))
            for metric in self._asked_metrics
        ]
        config: dict[str, Any] = {"optimizer": serialize(self.optimizer), "loss": serialize(self.loss)}
        config["metrics"] = named
        rest = {name: getattr(self, name) for name in ("run_eagerly", "batch_parts", "nonfinite")}
        return config | {name: value for name, value in rest.items() if value != getattr(Compiled, name)}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile the model as the one was whose `get_compile_config` gave `config`."""
        if config:
            self.compile(**config)

    def _new_step(self) -> Step:
        """Return what trains and evaluates batches; the model must be compiled and built."""
        assert self.loss is not None and self.optimizer is not None
        with charged("the state of the optimizer"):
            self.optimizer.build(self.weights)
        action = NonFinite(self.nonfinite)
        return Step(self, self.loss, self.metrics, self.optimizer, self.run_eagerly, self.batch_parts, action)

    def _step_on_batches(self) -> Step:
        """Return the step for batches that the user hands over one by one; the same as long as it is valid."""
        assert self.loss is not None and self.optimizer is not None
        with charged("the state of the optimizer"):
            self.optimizer.build(self.weights)
        settings = self.run_eagerly, self.batch_parts, self.nonfinite
        step, parts = self._step, (self.loss, self.metrics, self.optimizer, *settings)
        if step is None or any(one is not other for one, other in zip(parts, self._step_parts, strict=True)):
            step, self._step_parts = self._new_step(), parts
            self._step = step
        return step
