"""Compiled: a network that knows how it is to be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpunet import arguments, optimizers
from gpunet import metrics as metrics_module
from gpunet.backend.interrupts import undisturbed
from gpunet.backend.shortage import charged
from gpunet.identifiers import serialize
from gpunet.metrics import Metric
from gpunet.networks.network import Network
from gpunet.optimizers import Optimizer
from gpunet.training.heads import Plan, are_metrics, new_plan
from gpunet.training.objective import Objective
from gpunet.training.step import Step
from gpunet.training.structure import mapped
from gpunet.training.watch import NonFinite


class Compiled(Network):
    """A network with an optimizer, losses and metrics."""

    compiled = False
    optimizer: Optimizer | None = None
    run_eagerly = False
    steps_per_execution = 1
    batch_parts = 1
    nonfinite = NonFinite.IGNORE.value
    _wanted = Plan()
    _objective: Objective | None = None  # None until the outputs' shapes are known
    _made_for: Sequence[object] = ()  # inputs and outputs for which _objective was made
    _step: Step | None = None
    _step_parts: tuple[object, ...] = ()  # what _step was made for

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes over: all but the running step, which is bound to this model's arrays."""
        return {key: value for key, value in vars(self).items() if key not in ("_step", "_step_parts")}

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        *,
        batch_parts: int = 1,
        nonfinite: str = "ignore",
    ) -> None:
        """Choose how to train: an optimizer, losses and metrics, by name or as objects.

        A network of several outputs takes one `loss` for all of them, or a list or dict (by output) with one for each,
        None where there is none; what is minimized is their sum, each times its number in `loss_weights`. `metrics` is
        a list or, for several outputs, a list of lists or dict of lists, one for each; `weighted_metrics` likewise, of
        metrics that count samples by their weights, where `fit` is given any. (Keras 2 had metrics in the third place:
        metrics are taken for such there.)

        The optimizer is RMSprop if none is named, as in Keras. A loss is needed to fit and to evaluate. On a GPU a step
        becomes one CUDA graph, unless `run_eagerly`; `steps_per_execution`, `jit_compile` and `auto_scale_loss` are
        taken for Keras's sake and change nothing.

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
        steps_per_execution = arguments.integer(where, "steps_per_execution", steps_per_execution)
        arguments.choice(where, "jit_compile", jit_compile, (True, False, "auto"))
        arguments.boolean(where, "auto_scale_loss", auto_scale_loss)
        batch_parts = arguments.integer(where, "batch_parts", batch_parts)
        arguments.choice(where, "nonfinite", nonfinite, [action.value for action in NonFinite])
        new_optimizer = optimizers.get(optimizer, f"{where}: optimizer")
        if metrics is None and are_metrics(loss_weights):
            loss_weights, metrics = None, loss_weights
        plan = new_plan(where, loss, loss_weights, metrics, weighted_metrics)
        if self.built:
            self._new_objective(where, plan)  # errors come now; layers may still be added
        with undisturbed():
            self.optimizer, self.run_eagerly, self.steps_per_execution = new_optimizer, run_eagerly, steps_per_execution
            self.batch_parts, self.nonfinite = batch_parts, nonfinite
            self._wanted, self._objective = plan, None
            self.compiled = True

    @property
    def loss(self) -> Any:
        """The loss or, as they were given, the losses; None if there are none."""
        return self._wanted.loss

    def _new_objective(self, where: str, plan: Plan) -> Objective:
        return Objective(where, plan.heads(where, self.output_names, self.output_shapes), len(self.input_names))

    @property
    def objective(self) -> Objective:
        """What the model is trained for, with the running means of losses and metrics; it must be compiled and built.

        ValueError if the model was built after it was compiled, and has other outputs than `compile` was told of.
        """
        made_for = [*self.input_names, *zip(self.output_names, self.output_shapes, strict=True)]
        if self._objective is None or self._made_for != made_for:
            self._objective = self._new_objective(f"{self.where}.compile", self._wanted)
            self._made_for = made_for
        return self._objective

    @property
    def has_loss(self) -> bool:
        """Whether the model is compiled with a loss."""
        return self.compiled and self._wanted.has_loss

    @property
    def counted(self) -> list[Metric]:
        """All running means: of losses and metrics; empty until the model is compiled and built."""
        return self.objective.counted if self.compiled and self.built else []

    @property
    def metrics(self) -> list[Metric]:
        """The metrics beside the losses; empty until the model is compiled and built."""
        return self.objective.metrics if self.compiled and self.built else []

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns; the loss alone until the model is compiled and built."""
        return self.objective.result_names if self.compiled and self.built else ["loss"]

    def reset_metrics(self) -> None:
        """Begin new means of the losses and metrics."""
        if self._objective is not None:
            self._objective.reset()

    def get_metrics_result(self) -> dict[str, float]:
        """Return the means of the losses and metrics since the last reset, by name; empty until there are any."""
        return self.objective.results() if self.compiled and self.built else {}

    def check_compiled(self, where: str) -> None:
        """ValueError unless the model was compiled with a loss."""
        if not self.compiled:
            raise ValueError(f"{where}: the model must be compiled first; call compile(optimizer, loss, metrics=[…])")
        if not self._wanted.has_loss:
            raise ValueError(f"{where}: loss must be given to compile; got None")

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, in JSON's types; empty if the model is not compiled."""
        if not self.compiled:
            return {}
        plan = self._wanted
        config: dict[str, Any] = {"optimizer": serialize(self.optimizer), "loss": mapped(plan.loss, serialize)}
        config["metrics"] = [] if plan.metrics is None else mapped(plan.metrics, _named)
        rest = {name: getattr(self, name) for name in _PLAIN if getattr(self, name) != getattr(Compiled, name)}
        if plan.loss_weights is not None:
            rest["loss_weights"] = mapped(plan.loss_weights, float)
        if plan.weighted_metrics is not None:
            rest["weighted_metrics"] = mapped(plan.weighted_metrics, _named)
        return config | rest

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile the model as the one was whose `get_compile_config` gave `config`."""
        if config:
            self.compile(**config)

    def _new_step(self, eager: bool | None = None) -> Step:
        """Return what trains and evaluates batches; the model must be compiled and built."""
        assert self.optimizer is not None
        with charged("the state of the optimizer"):
            self.optimizer.build(list(self.parameters_by_path.values()))
        action = NonFinite(self.nonfinite)
        run_eagerly = self.run_eagerly if eager is None else eager
        return Step(self, self.objective, self.optimizer, run_eagerly, self.batch_parts, action)

    def _step_on_batches(self) -> Step:
        """Return the step for batches that the user hands over one by one; the same as long as it is valid."""
        assert self.optimizer is not None
        with charged("the state of the optimizer"):
            self.optimizer.build(list(self.parameters_by_path.values()))
        settings = self.run_eagerly, self.batch_parts, self.nonfinite
        step, parts = self._step, (self.objective, self.optimizer, *settings)
        if step is None or any(one is not other for one, other in zip(parts, self._step_parts, strict=True)):
            step, self._step_parts = self._new_step(), parts
            self._step = step
        return step


# Arguments of `compile` that are kept, and saved, as they are.
_PLAIN = ("run_eagerly", "steps_per_execution", "batch_parts", "nonfinite")


def _named(metric: Any) -> Any:
    """Return a metric as JSON has it: by the name it was asked for, or its configuration."""
    return metric if isinstance(metric, (str, Mapping)) else serialize(metrics_module.get(metric))
