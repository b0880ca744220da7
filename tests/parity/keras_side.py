"""The same layer, loss or optimizer run by Keras and by gpunet, in float64, with their gradients.

Keras is imported inside the functions, so that the tests are collected, and skipped by name, where it is missing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import checks
import numpy as np

from gpunet.backend.arrays import Device, HostArray

# We compute in float64. Keras, asked for it, does too, but for matrix products, means and some constants.
TOLERANCE = 2e-6


class Run(NamedTuple):
    """What a layer returned: y, dx, the gradients of its weights, and the losses of its regularizers."""

    y: HostArray
    dx: HostArray
    gradients: list[HostArray]
    losses: float


def host(tensor: Any) -> HostArray:
    """Return a tensor of torch, or a variable of Keras, as a NumPy array."""
    tensor = getattr(tensor, "value", tensor)
    array: HostArray = tensor.detach().cpu().numpy()
    return array


def tensor(array: HostArray, gradient: bool = False) -> Any:
    """Return `array` as a tensor of torch."""
    import torch

    return torch.tensor(array, requires_grad=gradient)


def run_keras(layer: Any, x: HostArray, dy_of: Any, training: bool = False) -> Run:
    """Run a built or unbuilt layer of Keras, and back from the gradient dy_of(y's shape)."""
    x_tensor = tensor(x, gradient=True)
    y = layer(x_tensor, training=training)
    dy = dy_of(tuple(y.shape))
    total = (y * tensor(dy)).sum() + sum(layer.losses)
    total.backward()
    gradients = [host(weight.value.grad) for weight in layer.trainable_weights]
    losses = float(sum(layer.losses))
    dx = x_tensor.grad
    return Run(host(y), np.zeros_like(x) if dx is None else host(dx), gradients, losses)


def run_gpunet(layer: Any, x: HostArray, dy_of: Any, device: Device, training: bool = False) -> Run:
    """Run a built layer of gpunet likewise, with its regularizers as training would."""
    layer.clear_activity_losses()
    y, backward = layer.apply(checks.on(device, x), training)
    dx = backward(checks.on(device, dy_of(y.shape)))
    losses = sum(float(checks.host(loss)[0]) for loss in layer.activity_losses)
    gradients = []
    for weight in layer.trainable_weights:
        if weight.regularizer is not None:
            losses += float(checks.host(weight.regularizer.value(weight.value))[0])
            weight.regularizer.add_gradient(weight.value, weight.gradient)
        gradients.append(checks.host(weight.gradient))
    return Run(checks.host(y), checks.host(dx), gradients, losses)


def assert_close(actual: HostArray, expected: HostArray, what: str, tolerance: float = TOLERANCE) -> None:
    """Check two arrays against each other, relative to the largest magnitude."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}; Keras has {expected.shape}"
    if not actual.size:
        return
    error = np.abs(actual - expected).max()
    allowed = tolerance * max(np.abs(expected).max(), 1e-3)
    assert error <= allowed, f"{what} is {error:.3g} away from Keras's, allowed {allowed:.3g}"


def assert_same_run(actual: Run, expected: Run, tolerance: float = TOLERANCE) -> None:
    """Check two runs against each other."""
    assert_close(actual.y, expected.y, "y", tolerance)
    assert_close(actual.dx, expected.dx, "dx", tolerance)
    assert len(actual.gradients) == len(expected.gradients)
    for number, (ours, theirs) in enumerate(zip(actual.gradients, expected.gradients, strict=True)):
        assert_close(ours, theirs, f"gradient {number}", tolerance)
    assert_close(np.array(actual.losses), np.array(expected.losses), "losses", tolerance)


def compare_layers(
    name: str,
    x: HostArray,
    device: Device,
    training: bool = False,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    **arguments: Any,
) -> tuple[Any, Any]:
    """Make layer `name` on both sides with the same arguments and weights, run both, and return (ours, Keras's)."""
    import keras

    import gpunet

    theirs = getattr(keras.layers, name)(dtype="float64", **arguments)
    ours = getattr(gpunet.layers, name)(dtype="float64", **arguments)
    compare(ours, theirs, x, device, training, seed, tolerance)
    return ours, theirs


def compare(
    ours: Any,
    theirs: Any,
    x: HostArray,
    device: Device,
    training: bool = False,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> None:
    """Give both layers the same weights, run both, and compare."""
    theirs.build(x.shape)
    ours.build(x.shape)
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(tuple(weight.shape)) / 2 for weight in theirs.weights]
    theirs.set_weights(weights)
    ours.set_weights(weights)

    def dy_of(shape: tuple[int, ...]) -> HostArray:
        return np.random.default_rng(seed + 1).standard_normal(shape)

    expected = run_keras(theirs, x, dy_of, training)
    assert_same_run(run_gpunet(ours, x, dy_of, device, training), expected, tolerance)
    assert ours.compute_output_shape((None, *x.shape[1:])) == tuple(theirs.compute_output_shape((None, *x.shape[1:])))
