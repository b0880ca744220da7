"""One step of training, evaluation or prediction: everything that happens on the device for one batch.

    z, backward   = network(x)                      forward; logits where the loss takes them
    value, dz     = loss(y, z)                      mean over the batch
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
from gpunet.layers.base import Backward
from gpunet.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy
from gpunet.metrics import Mean, Metric
from gpunet.networks.network import Network
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.convolution_policy import current_convolution
from gpunet.ops.softmax import softmax
from gpunet.ops.trace import BACKWARD, FORWARD, UPDATE, Pass, part, show
from gpunet.optimizers import Optimizer
from gpunet.parameters import Parameter
from gpunet.training.batch_parts import PartLoss, loss_over_parts, rows_of_parts
from gpunet.training.capture import Captures
from gpunet.training.feeding import Batch, Inputs
from gpunet.training.memory import Rehearsed, layout_of
from gpunet.training.watch import NonFinite, Watch


class Step:
    """The steps of one network under one loss, with the running means of the loss and of the metrics.

    `eager` runs every step as it is; else steps on a device are captured as graphs (training/capture.py). `parts` is in
    how many parts a batch is run (training/batch_parts.py). `nonfinite` says what is done where the loss or a gradient
    of a training step is not finite (training/watch.py).
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        metrics: Sequence[Metric],
        optimizer: Optimizer,
        eager: bool = False,
        parts: int = 1,
        nonfinite: NonFinite = NonFinite.IGNORE,
    ) -> None:
        self._network = weakref.ref(network)  # which keeps a step, and is to be freed when it is dropped
        self.optimizer = optimizer
        self.metrics = metrics
        self.parts = parts
        self._mean_loss = Mean("loss")
        self._loss = loss
        self._loss_of_logits = _from_logits(loss)
        self._captures = Captures(network.where, network.device, wanted=not eager)
        self._inputs = Inputs(network.where)
        self._watch: Watch | None = None
        if nonfinite is not NonFinite.IGNORE:
            counted = (self._mean_loss, *metrics)
            self._watch = Watch(network, optimizer, counted, nonfinite)

    @property
    def network(self) -> Network:
        """The network, which somebody else keeps as long as there are steps."""
        network = self._network()
        assert network is not None, "a step is taken of a model that is there"
        return network

    def train(self, batch: Batch) -> None:
        """Change the trainable parameters once, by the gradients of a batch (x, y)."""
        with nullcontext() if self._watch is None else self._watch.step(self._repeat):
            self._run("train", self._train, batch)

    def test(self, batch: Batch) -> None:
        """Add the loss and the metrics of a batch (x, y), and change nothing else."""
        self._run("test", self._test, batch)

    def _run(self, name: str, work: Callable[..., None], batch: Batch) -> None:
        """Do `work` on the arrays of `batch`, as a graph if possible."""
        layouts: list[Layout] = []

        def run() -> None:
            arrays = batch.take()
            layouts[:] = map(layout_of, arrays)
            work(*arrays)

        rehearse = partial(self.rehearse, training=name == "train")
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
    def _train(self, x: Array, y: Array) -> None:
        parameters = self.network.trainable_parameters
        self.optimizer.arrange(parameters)
        apply: Callable[[Sequence[Parameter]], None] = self.optimizer.apply
        if self._watch is not None:
            with part("optimizer", UPDATE):
                self._watch.begin(x, y, self._repeat)
            note = partial(self._watch.before_update, self._mean_loss.state_on(device_of(x)))
            apply = partial(self.optimizer.apply, before_update=note)
        self._compute_gradients(x, y, parameters)
        with _on_behalf_of("optimizer", UPDATE):
            apply(parameters)

    @one_blas_thread()
    def _repeat(self, x: Array, y: Array) -> None:
        """Do what `train` has done for a batch, but for the update."""
        self._compute_gradients(x, y, self.network.trainable_parameters)

    def _compute_gradients(self, x: Array, y: Array, parameters: Sequence[Parameter]) -> None:
        """Run the network and the loss, and back, which leaves the gradients in `parameters`."""
        self.network.prepare_gradients()
        for parameter in parameters:
            parameter.gradient = None  # an interrupted step may have left some
        loss, size = self._loss_over_parts(x, y), 0
        for rows in rows_of_parts(len(x), self.parts):
            n = rows.stop - rows.start
            if size not in (0, n):
                self.optimizer.scale_gradients(size / n)
            size = n
            self._back(*self._forward(x, y, rows, loss, True))
        if size < len(x):
            self.optimizer.scale_gradients(size / len(x))

    def _back(self, loss_backward: Callable[[], Array], backward: Backward) -> None:
        """Fill the gradients of all trainable parameters, but for those of penalties on weights."""
        with _on_behalf_of("loss", BACKWARD):
            dz = loss_backward()
            show(dz)
        backward(dz)

    @one_blas_thread()
    def rehearse(self, x: Array, y: Array, *, training: bool) -> None:
        """Do for all of x and y at once what a step does for a part, but for the update, and begin new means."""
        self.optimizer.arrange(self.network.trainable_parameters)
        self.network.prepare_gradients()
        try:
            passes = self._forward(x, y, slice(0, len(x)), self._loss_over_parts(x, y), training)
            if training:
                self._back(*passes)
        finally:
            self.reset()
            for parameter in self.network.weights:
                parameter.gradient = None

    @one_blas_thread()
    def _test(self, x: Array, y: Array) -> None:
        self.optimizer.arrange(self.network.trainable_parameters)
        loss = self._loss_over_parts(x, y)
        for rows in rows_of_parts(len(x), self.parts):
            self._forward(x, y, rows, loss, False)

    @property
    def _takes_logits(self) -> bool:
        return self._loss_of_logits is not None and self.network.ends_in_softmax

    @property
    def _used_loss(self) -> Loss:
        """The loss of what `run_network` returns."""
        return self._loss_of_logits if self._loss_of_logits is not None and self._takes_logits else self._loss

    def run_network(self, x: Array, training: bool) -> tuple[Array, Backward, Loss]:
        """Run the network; return what its loss takes, outputs or logits, the network's backward, and that loss."""
        run = self.network.forward_logits if self._takes_logits else self.network.forward
        return *run(x, training), self._used_loss

    def _loss_over_parts(self, x: Array, y: Array) -> PartLoss:
        with part("loss"):
            return loss_over_parts(self._used_loss, y, x.dtype, self.parts)

    def _forward(
        self, batch_x: Array, batch_y: Array, rows: slice, loss: PartLoss, training: bool
    ) -> tuple[Callable[[], Array], Backward]:
        """Run the network and the loss on some `rows` of a batch; return the backward passes of both.

        The total loss, weighted by the number of rows, and the metrics are added to the running means.
        """
        x, y = (batch_x, batch_y) if self.parts == 1 else (batch_x[rows], batch_y[rows])
        y_pred, backward, _ = self.run_network(x, training)
        record = self._mean_loss.state_on(device_of(x))
        with _on_behalf_of("loss"):
            loss_backward = loss(y, y_pred, record)
            if rows.start == 0:
                for penalty in self.optimizer.penalties():
                    self._add_penalty(record, penalty, len(batch_y))
            for penalty in self.network.activity_losses:
                self._add_penalty(record, penalty, len(y))
        needs_softmax = self._takes_logits and any(metric.needs_probabilities for metric in self.metrics)
        with _on_behalf_of("metrics"):
            shown = softmax(y_pred) if needs_softmax else y_pred
            for metric in self.metrics:
                metric.update_state(y, shown)
        return loss_backward, backward

    def _add_penalty(self, record: Array, penalty: Array, samples: int) -> None:
        accumulate_mean(record, penalty, samples, 0)
        with part("penalty"):
            show(penalty)

    def reset(self, number: int | None = None) -> None:
        """Begin new means; `number` is that of the next batch in its epoch, None where there are no epochs."""
        if self._watch is not None:
            self._watch.next_number = number
        for metric in (self._mean_loss, *self.metrics):
            metric.reset_state()

    def state(self) -> list[dict[str, Any]]:
        """Return the running means of the loss and of the metrics, for a checkpoint."""
        return [metric.get_state() for metric in (self._mean_loss, *self.metrics)]

    def restore(self, state: Sequence[Mapping[str, Any]], number: int) -> None:
        """Go on from the running means that `state` returned, with batch `number` of an epoch."""
        if self._watch is not None:
            self._watch.next_number = number
        for metric, values in zip((self._mean_loss, *self.metrics), state, strict=True):
            metric.set_state(values, self.network.device)

    def results(self) -> dict[str, float]:
        """Wait for the device and return the means so far, the loss first.

        FloatingPointError where a step was not finite, if that is wanted.
        """
        if self._watch is not None:
            self._watch.look(self._repeat)
        return {metric.name: metric.result() for metric in (self._mean_loss, *self.metrics)}


@contextmanager
def _on_behalf_of(name: str, direction: Pass = FORWARD) -> Iterator[None]:
    """Charge ops, and memory that is not there, to a part of the step that is no layer."""
    with charged(f"the {name}"), part(name, direction):
        yield


def predict(network: Network, x: Array) -> Array:
    """Return the outputs of `network` for the batch x."""

    def rehearse(x: Array) -> None:
        network.forward(x, False)

    with (
        Rehearsed(network, network.device, rehearse).watching([layout_of(x)]),
        patient(),
        network.turn,
        one_blas_thread(),
    ):
        y, _ = network.forward(x, False)
    return y


def _from_logits(loss: Loss) -> Loss | None:
    """Return the loss that runs as one op with a final softmax, stable for any logits; None if there is none."""
    if isinstance(loss, (CategoricalCrossentropy, SparseCategoricalCrossentropy)):
        return loss.with_logits() if loss.is_known and not loss.from_logits else None
    return None
