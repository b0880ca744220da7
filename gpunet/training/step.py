"""One step of training, evaluation or prediction: everything that happens on the device for one batch.

    z, backward   = network(x)                      forward; logits where the loss takes them
    value, dz     = loss(y, z)                      mean over the batch
    total         = value + sum of r(w) + sum of activity regularizers
    dw            = backward(dz) + r'(w)
    w             = optimizer(w, dw)

Nothing here reads the device: loss and metrics add up in its memory until `results` asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpunet.backend.arrays import Array, device_of
from gpunet.backend.threads import one_blas_thread
from gpunet.layers.base import Backward
from gpunet.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy
from gpunet.metrics import Mean, Metric
from gpunet.networks.network import Network
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.convolution_policy import current_convolution
from gpunet.ops.softmax import softmax
from gpunet.ops.trace import BACKWARD, UPDATE, part
from gpunet.optimizers import Optimizer
from gpunet.training.capture import Captures
from gpunet.training.feeding import Batch, Inputs


class Step:
    """The steps of one network under one loss, with the running means of the loss and of the metrics.

    `eager` runs every step as it is; else steps on a device are captured as graphs (training/capture.py).
    """

    def __init__(
        self, network: Network, loss: Loss, metrics: Sequence[Metric], optimizer: Optimizer, eager: bool = False
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.metrics = metrics
        self._mean_loss = Mean("loss")
        self._loss = loss
        self._loss_of_logits = _from_logits(loss)
        self._captures = Captures(network.where, network.device, wanted=not eager)
        self._inputs = Inputs(network.where)

    def train(self, batch: Batch) -> None:
        """Change the trainable parameters once, by the gradients of a batch (x, y)."""
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
        self.network.prepare_gradients()
        parameters = self.network.trainable_parameters
        self.optimizer.arrange(parameters)
        for parameter in parameters:
            parameter.gradient = None  # an interrupted step may have left some
        loss_backward, backward = self._forward(x, y, True)
        with part("loss", BACKWARD):
            dz = loss_backward()
        backward(dz)
        with part("optimizer", UPDATE):
            self.optimizer.apply(parameters)

    @one_blas_thread()
    def _test(self, x: Array, y: Array) -> None:
        self.optimizer.arrange(self.network.trainable_parameters)
        self._forward(x, y, False)

    def _forward(self, x: Array, y: Array, training: bool) -> tuple[Callable[[], Array], Backward]:
        """Run the network and the loss; return the backward passes of both.

        The total loss, weighted by the batch's size, and the metrics are added to the running means.
        """
        y_pred, backward, loss = self.run_network(x, training)
        record = self._mean_loss.state_on(device_of(x))
        with part("loss"):
            _, loss_backward = loss.forward(y, y_pred, record)
            for penalty in (*self.optimizer.penalties(), *self.network.activity_losses):
                accumulate_mean(record, penalty, len(y), 0)
        needs_softmax = loss is not self._loss and any(metric.needs_probabilities for metric in self.metrics)
        with part("metrics"):
            shown = softmax(y_pred) if needs_softmax else y_pred
            for metric in self.metrics:
                metric.update_state(y, shown)
        return loss_backward, backward

    def run_network(self, x: Array, training: bool) -> tuple[Array, Backward, Loss]:
        """Run the network; return what its loss takes, outputs or logits, the network's backward, and that loss."""
        if self._loss_of_logits is not None and self.network.ends_in_softmax:
            return *self.network.forward_logits(x, training), self._loss_of_logits
        return *self.network.forward(x, training), self._loss

    def reset(self) -> None:
        """Begin new means."""
        for metric in (self._mean_loss, *self.metrics):
            metric.reset_state()

    def results(self) -> dict[str, float]:
        """Wait for the device and return the means so far, the loss first."""
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
