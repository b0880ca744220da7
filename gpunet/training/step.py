"""One step of training, evaluation or prediction: everything that happens on the device for one batch.

    z, backward   = network(x)                      forward; logits where the loss takes them
    value, dz     = objective(y, z)                 mean over the batch: see training/objective.py
    total         = value + sum of r(w) + sum of activity regularizers
    dw            = backward(dz) + r'(w)
    w             = optimizer(w, dw)

Nothing here reads the device: loss and metrics add up in its memory until `results` asks for them, and so does what
training/watch.py notes of numbers that are not finite.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from gpunet.backend.arrays import Array, device_of
from gpunet.backend.interrupts import patient
from gpunet.backend.shortage import charged
from gpunet.backend.streaming import Layout
from gpunet.backend.threads import one_blas_thread
from gpunet.layers.base import Backward, Forward
from gpunet.networks.network import Network
from gpunet.ops import arithmetic
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.convolution_policy import current_convolution
from gpunet.ops.trace import BACKWARD, FORWARD, UPDATE, Pass, part, show
from gpunet.optimizers import Optimizer
from gpunet.parameters import Parameter
from gpunet.training.batch_parts import rows_of_parts
from gpunet.training.capture import Captures
from gpunet.training.feeding import Batch, Inputs
from gpunet.training.memory import Rehearsed, layout_of
from gpunet.training.objective import Objective
from gpunet.training.watch import NonFinite, Watch


class Step:
    """The steps of one network under one objective, which has the running means of losses and metrics.

    `eager` runs every step as it is; else steps on a device are captured as graphs (training/capture.py). `parts` is in
    how many parts a batch is run (training/batch_parts.py). `nonfinite` says what is done where the loss or a gradient
    of a training step is not finite (training/watch.py).
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        optimizer: Optimizer,
        eager: bool = False,
        parts: int = 1,
        nonfinite: NonFinite = NonFinite.IGNORE,
    ) -> None:
        self._network = weakref.ref(network)  # which keeps a step, and is to be freed when it is dropped
        self.optimizer = optimizer
        self.objective = objective
        self.parts = parts
        self._captures = Captures(network.where, network.device, wanted=not eager)
        self._inputs = Inputs(network.where)
        self._watch: Watch | None = None
        if nonfinite is not NonFinite.IGNORE:
            labels = objective.labels(network.input_names)
            self._watch = Watch(network, optimizer, objective.counted, nonfinite, labels)

    @property
    def network(self) -> Network:
        """The network, which somebody else keeps as long as there are steps."""
        network = self._network()
        assert network is not None, "a step is taken of a model that is there"
        return network

    def train(self, batch: Batch) -> None:
        """Change the trainable parameters once, by the gradients of a batch."""
        with (
            nullcontext() if self._watch is None else self._watch.step(self._repeat),
            self.optimizer.step() as updates,
        ):
            self._run("train" if updates else "accumulate", self._train, batch)

    def test(self, batch: Batch) -> None:
        """Add the loss and the metrics of a batch, and change nothing else."""
        self._run("test", self._test, batch)

    def _run(self, name: str, work: Callable[..., None], batch: Batch) -> None:
        """Do `work` on the arrays of `batch`, as a graph if possible."""
        layouts: list[Layout] = []

        def run() -> None:
            arrays = batch.take()
            layouts[:] = map(layout_of, arrays)
            work(*arrays)

        rehearse = partial(self.rehearse, training=name != "test")
        with Rehearsed(self.network, self.network.device, rehearse, self.parts).watching(layouts):
            if self._captures.wanted and batch.key is None:
                batch = self._inputs.placed(batch)
            with patient(), self.network.turn:
                if batch.key is None:
                    run()
                    return
                key = name, batch.key, current_convolution()
                self._captures.run(key, run, self.optimizer.hyperparameters)

    @one_blas_thread()
    def _train(self, *batch: Array) -> None:
        parameters = self.network.trainable_parameters
        self.optimizer.arrange(parameters)
        apply: Callable[[Sequence[Parameter]], None] = self.optimizer.apply
        if self._watch is not None:
            with part("optimizer", UPDATE):
                self._watch.begin(batch, self._repeat)
            note = partial(self._watch.before_update, self.objective.total.state_on(device_of(batch[0])))
            apply = partial(self.optimizer.apply, before_update=note)
        self._compute_gradients(batch, parameters)
        with _on_behalf_of("optimizer", UPDATE):
            apply(parameters)

    @one_blas_thread()
    def _repeat(self, *batch: Array) -> None:
        """Do what `train` has done for a batch, but for the update."""
        self._compute_gradients(batch, self.network.trainable_parameters)

    def _compute_gradients(self, batch: tuple[Array, ...], parameters: Sequence[Parameter]) -> None:
        """Run the network and the losses, and back, which leaves the gradients in `parameters`."""
        self.network.prepare_gradients()
        for parameter in parameters:
            parameter.gradient = None  # an interrupted step may have left some
        run, samples, size = _Run(self, batch), len(batch[0]), 0
        for rows in rows_of_parts(samples, self.parts):
            n = rows.stop - rows.start
            if size not in (0, n):
                self.optimizer.scale_gradients(size / n)
            size = n
            self._back(*run.forward(rows, True))
        if size < samples:
            self.optimizer.scale_gradients(size / samples)

    def _back(self, loss_backward: Callable[[], list[Array]], backward: Backward) -> None:
        """Fill the gradients of all trainable parameters, but for those of penalties on weights."""
        with _on_behalf_of("loss", BACKWARD):
            dz = loss_backward()
            factor = self.optimizer.loss_scale_factor
            if factor is not None:
                if self.network.activity_losses:
                    raise ValueError(
                        f"{self.network.where}: loss_scale_factor must be None for a model with activity regularizers; "
                        f"got {factor}"
                    )
                dz = [arithmetic.scale(one, factor) for one in dz]
            for one in dz:
                show(one)
        backward(dz if len(dz) > 1 else dz[0])

    @one_blas_thread()
    def rehearse(self, *batch: Array, training: bool) -> None:
        """Do for a whole batch at once what a step does for a part, but for the update, and begin new means."""
        self.optimizer.arrange(self.network.trainable_parameters)
        self.network.prepare_gradients()
        try:
            passes = _Run(self, batch).forward(slice(0, len(batch[0])), training)
            if training:
                self._back(*passes)
        finally:
            self.reset()
            for parameter in self.network.weights:
                parameter.gradient = None

    @one_blas_thread()
    def _test(self, *batch: Array) -> None:
        self.optimizer.arrange(self.network.trainable_parameters)
        run = _Run(self, batch)
        for rows in rows_of_parts(len(batch[0]), self.parts):
            run.forward(rows, False)

    def reset(self, number: int | None = None) -> None:
        """Begin new means; `number` is that of the next batch in its epoch, None where there are no epochs."""
        if self._watch is not None:
            self._watch.next_number = number
        self.objective.reset()

    def state(self) -> list[dict[str, Any]]:
        """Return the running means of losses and metrics, for a checkpoint."""
        return self.objective.state()

    def restore(self, state: Sequence[Mapping[str, Any]], number: int) -> None:
        """Go on from the running means that `state` returned, with batch `number` of an epoch."""
        if self._watch is not None:
            self._watch.next_number = number
        self.objective.restore(state, self.network.device)

    def results(self) -> dict[str, float]:
        """Wait for the device and return the means so far, by name.

        FloatingPointError where a step was not finite, if that is wanted.
        """
        if self._watch is not None:
            self._watch.look(self._repeat)
        return self.objective.results()


class _Run:
    """The passes over a batch, or over one part of it after the other."""

    def __init__(self, step: Step, batch: tuple[Array, ...]) -> None:
        self._network = step.network
        self._device = device_of(batch[0])
        self._objective = step.objective
        self._penalties = step.optimizer.penalties
        self._whole = step.objective.roles(batch)
        self._parts = step.parts
        self._takes_logits = step.objective.takes_logits(self._network.softmax_outputs)
        with part("loss"):
            self._losses = step.objective.over_parts(self._whole, self._takes_logits, batch[0].dtype, self._parts)

    def forward(self, rows: slice, training: bool) -> tuple[Callable[[], list[Array]], Backward]:
        """Run the network and the losses on some `rows` of the batch; return the backward passes of both.

        The total loss, weighted by the number of rows, and the metrics are added to the running means.
        """
        objective, whole = self._objective, self._whole
        taken = whole if self._parts == 1 else whole.rows(rows)
        y, backward = run_network(self._network, taken.inputs, training, self._takes_logits)
        outputs = y if isinstance(y, list) else [y]
        with _on_behalf_of("loss"):
            _, loss_backward = objective.forward(self._losses, taken, outputs, self._device)
            record = objective.total.state_on(self._device)
            if rows.start == 0:
                for penalty in self._penalties():
                    _add_penalty(record, penalty, len(whole.inputs[0]))
            for penalty in self._network.activity_losses:
                _add_penalty(record, penalty, len(taken.inputs[0]))
        with _on_behalf_of("metrics"):
            objective.update_metrics(taken, outputs, self._takes_logits)
        return loss_backward, backward


def _add_penalty(record: Array, penalty: Array, samples: int) -> None:
    accumulate_mean(record, penalty, samples, 0)
    with part("penalty"):
        show(penalty)


def run_network(network: Network, inputs: Sequence[Array], training: bool, logits: Sequence[bool]) -> Forward:
    """Return outputs and backward of `network`, which are lists where it has several inputs or outputs."""
    return network.run(list(inputs) if len(inputs) > 1 else inputs[0], training, logits)


@contextmanager
def _on_behalf_of(name: str, direction: Pass = FORWARD) -> Iterator[None]:
    """Charge ops, and memory that is not there, to a part of the step that is no layer."""
    with charged(f"the {name}"), part(name, direction):
        yield


def predict(network: Network, *inputs: Array) -> list[Array]:
    """Return all outputs of `network` for a batch."""
    logits = [False] * len(network.softmax_outputs)

    def rehearse(*inputs: Array) -> None:
        run_network(network, inputs, False, logits)

    with (
        Rehearsed(network, network.device, rehearse).watching([layout_of(x) for x in inputs]),
        patient(),
        network.turn,
        one_blas_thread(),
    ):
        y, _ = run_network(network, inputs, False, logits)
    return y if isinstance(y, list) else [y]
