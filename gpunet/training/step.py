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
from gpunet.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy
from gpunet.metrics import Mean, Metric
from gpunet.networks.network import Network
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.softmax import softmax
from gpunet.ops.trace import BACKWARD, UPDATE, part
from gpunet.optimizers import Optimizer


class Step:
    """The steps of one network under one loss, with the running means of the loss and of the metrics."""

    def __init__(self, network: Network, loss: Loss, metrics: Sequence[Metric], optimizer: Optimizer) -> None:
        fused = _loss_from_logits(network, loss)
        self.network = network
        self.optimizer = optimizer
        self.metrics = metrics
        self._mean_loss = Mean("loss")
        self._loss = loss if fused is None else fused
        self._forward = network.forward if fused is None else network.forward_logits
        self._softmax_for_metrics = fused is not None and any(metric.needs_probabilities for metric in metrics)

    @one_blas_thread()
    def train(self, x: Array, y: Array) -> None:
        """Change the trainable parameters once, by the gradients of the batch (x, y)."""
        self.network.prepare_gradients()
        parameters = self.network.trainable_parameters
        self.optimizer.arrange(parameters)
        for parameter in parameters:
            parameter.gradient = None  # an interrupted step may have left some
        y_pred, backward = self._forward(x, True)
        loss_backward = self._record(x, y, y_pred)
        with part("loss", BACKWARD):
            dz = loss_backward()
        backward(dz)
        with part("optimizer", UPDATE):
            self.optimizer.apply(parameters)

    @one_blas_thread()
    def test(self, x: Array, y: Array) -> None:
        """Add the loss and the metrics of the batch (x, y), and change nothing else."""
        self.optimizer.arrange(self.network.trainable_parameters)
        y_pred, _ = self._forward(x, False)
        self._record(x, y, y_pred)

    def _record(self, x: Array, y: Array, y_pred: Array) -> Callable[[], Array]:
        """Add the total loss, weighted by the batch's size, and the metrics to the running means; return backward."""
        state = self._mean_loss.state_on(device_of(x))
        with part("loss"):
            _, backward = self._loss.forward(y, y_pred, state)
            for penalty in (*self.optimizer.penalties(), *self.network.activity_losses):
                accumulate_mean(state, penalty, len(y), 0)
        with part("metrics"):
            shown = softmax(y_pred) if self._softmax_for_metrics else y_pred
            for metric in self.metrics:
                metric.update_state(y, shown)
        return backward

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


def _loss_from_logits(network: Network, loss: Loss) -> Loss | None:
    """Return the loss that runs as one op with the final softmax of `network`, stable for any logits; None if none."""
    if isinstance(loss, (CategoricalCrossentropy, SparseCategoricalCrossentropy)):
        return loss.with_logits() if network.ends_in_softmax and not loss.from_logits else None
    return None
