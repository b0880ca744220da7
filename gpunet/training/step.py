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

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

from gpunet.backend.arrays import Array, device_of
from gpunet.backend.threads import one_blas_thread
from gpunet.layers.base import Backward
from gpunet.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy
from gpunet.metrics import Mean, Metric
from gpunet.networks.network import Network
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.convolution_policy import current_convolution
from gpunet.ops.softmax import softmax
from gpunet.ops.trace import BACKWARD, UPDATE, part, show
from gpunet.optimizers import Optimizer
from gpunet.parameters import Parameter
from gpunet.training.capture import Captures
from gpunet.training.feeding import Batch, Inputs
from gpunet.training.watch import NonFinite, Watch


class Step:
    """The steps of one network under one loss, with the running means of the loss and of the metrics.

    `eager` runs every step as it is; else steps on a device are captured as graphs (training/capture.py). `nonfinite`
    says what is done where the loss or a gradient of a training step is not finite (training/watch.py).
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        metrics: Sequence[Metric],
        optimizer: Optimizer,
        eager: bool = False,
        nonfinite: NonFinite = NonFinite.IGNORE,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.metrics = metrics
        self._mean_loss = Mean("loss")
        self._loss = loss
        self._loss_of_logits = _from_logits(loss)
        self._captures = Captures(network.where, network.device, wanted=not eager)
        self._inputs = Inputs(network.where)
        self._watch: Watch | None = None
        if nonfinite is not NonFinite.IGNORE:
            counted = (self._mean_loss, *metrics)
            self._watch = Watch(network, optimizer, counted, nonfinite)

    def train(self, batch: Batch) -> None:
        """Change the trainable parameters once, by the gradients of a batch (x, y)."""
        with nullcontext() if self._watch is None else self._watch.step(self._repeat):
            self._run("train", self._train, batch)

    def test(self, batch: Batch) -> None:
        """Add the loss and the metrics of a batch (x, y), and change nothing else."""
        self._run("test", self._test, batch)

    def _run(self, name: str, work: Callable[..., None], batch: Batch) -> None:
        """Do `work` on the arrays of `batch`, as a graph if possible."""
        if self._captures.wanted and batch.key is None:
            batch = self._inputs.placed(batch)
        if batch.key is None:
            work(*batch.take())
            return
        key = name, batch.key, current_convolution()
        self._captures.run(key, lambda: work(*batch.take()), self.optimizer.hyperparameters)

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
        with part("optimizer", UPDATE):
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
        loss_backward, backward = self._forward(x, y, True)
        with part("loss", BACKWARD):
            dz = loss_backward()
            show(dz)
        backward(dz)

    @one_blas_thread()
    def _test(self, x: Array, y: Array) -> None:
        self.optimizer.arrange(self.network.trainable_parameters)
        self._forward(x, y, False)

    def _forward(self, x: Array, y: Array, training: bool) -> tuple[Callable[[], Array], Backward]:
        """Run the network and the loss; return the backward passes of both.

        The total loss, weighted by the batch's size, and the metrics are added to the running means.
        """
        loss = self._loss_of_logits if self.network.ends_in_softmax else None
        y_pred, backward = (self.network.forward if loss is None else self.network.forward_logits)(x, training)
        record = self._mean_loss.state_on(device_of(x))
        with part("loss"):
            value, loss_backward = (loss or self._loss).forward(y, y_pred, record)
            show(value)
            for penalty in (*self.optimizer.penalties(), *self.network.activity_losses):
                accumulate_mean(record, penalty, len(y), 0)
                show(penalty)
        needs_softmax = loss is not None and any(metric.needs_probabilities for metric in self.metrics)
        with part("metrics"):
            shown = softmax(y_pred) if needs_softmax else y_pred
            for metric in self.metrics:
                metric.update_state(y, shown)
        return loss_backward, backward

    def reset(self, number: int | None = None) -> None:
        """Begin new means; `number` is that of the next batch in its epoch, None where there are no epochs."""
        if self._watch is not None:
            self._watch.next_number = number
        for metric in (self._mean_loss, *self.metrics):
            metric.reset_state()

    def results(self) -> dict[str, float]:
        """Wait for the device and return the means so far, the loss first.

        FloatingPointError where a step was not finite, if that is wanted.
        """
        if self._watch is not None:
            self._watch.look(self._repeat)
        return {metric.name: metric.result() for metric in (self._mean_loss, *self.metrics)}


@one_blas_thread()
def predict(network: Network, x: Array) -> Array:
    """Return the outputs of `network` for the batch x."""
    y, _ = network.forward(x, False)
    return y


def _from_logits(loss: Loss) -> Loss | None:
    """Return the loss that runs as one op with a final softmax, stable for any logits; None if there is none."""
    if isinstance(loss, (CategoricalCrossentropy, SparseCategoricalCrossentropy)):
        return loss.with_logits() if loss.is_known and not loss.from_logits else None
    return None
