"""Whole networks: one training step (forward, loss, backward, Adam) and one inference batch.

A network is told here in neutral terms, with its initial weights, and each library builds it in its own.

Flops: 2 for each multiply-add of Dense and convolution, forward once and backward twice (not the first layer's data
gradient, which nothing needs); the rest is small and not counted. Bytes, at least: inference reads its input and its
parameters, and writes and reads each layer's output once; a training step does so three times (forward, and backward
each for the gradients of outputs and of weights), and moves 7 numbers a parameter in Adam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from bench.cases.case import Case, Data, HostArray, float_bytes
from bench.cases.convolution import output_size


class Conv(NamedTuple):
    """A 3x3 convolution with ReLU."""

    filters: int
    padding: str


class Pool(NamedTuple):
    """2x2 max-pooling with strides of 2, padding 'same'."""


class Flatten(NamedTuple):
    """All axes but the batch, channels last, as one."""


class Dense(NamedTuple):
    """A Dense layer with ReLU; the last of a network has a softmax instead."""

    units: int


Layer: TypeAlias = Conv | Pool | Flatten | Dense


@dataclass(frozen=True)
class Network:
    """Layers, and the shape of one input."""

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    @property
    def classes(self) -> int:
        last = self.layers[-1]
        assert isinstance(last, Dense)
        return last.units

    def shapes(self) -> Iterator[tuple[Layer, tuple[int, ...], tuple[int, ...]]]:
        """Yield each layer with the shapes of one input and one output."""
        shape = self.input_shape
        for layer in self.layers:
            before = shape
            match layer:
                case Conv(filters, padding):
                    shape = (*(output_size(size, 3, 1, padding) for size in shape[:2]), filters)
                case Pool():
                    shape = (output_size(shape[0], 2, 2, "same"), output_size(shape[1], 2, 2, "same"), shape[2])
                case Flatten():
                    shape = (math.prod(shape),)
                case Dense(units):
                    shape = (*shape[:-1], units)
            yield layer, before, shape

    def kernel_shapes(self) -> list[tuple[int, ...]]:
        """Return the kernels' shapes: (3, 3, C, F) and (in, out)."""
        shapes: list[tuple[int, ...]] = []
        for layer, before, after in self.shapes():
            if isinstance(layer, Conv):
                shapes.append((3, 3, before[-1], after[-1]))
            elif isinstance(layer, Dense):
                shapes.append((before[-1], after[-1]))
        return shapes

    def weights(self) -> list[tuple[HostArray, HostArray]]:
        """Return kernels and biases: He et al. 2015, the last a tenth of that, for first losses that are moderate."""
        random = np.random.default_rng(0)
        weights: list[tuple[HostArray, HostArray]] = []
        shapes = self.kernel_shapes()
        for shape in shapes:
            scale = 0.1 if len(weights) == len(shapes) - 1 else 1.0
            kernel = random.standard_normal(shape) * scale * math.sqrt(2 / math.prod(shape[:-1]))
            bias = 0.01 * random.standard_normal(shape[-1])
            weights.append((kernel.astype(np.float32), bias.astype(np.float32)))
        return weights


NETWORKS: Mapping[str, Network] = {
    "cnn50": Network(
        (50, 50, 1),
        (
            *(Conv(16, "valid"), Pool(), Conv(32, "valid"), Pool(), Conv(64, "valid"), Pool()),
            *(Flatten(), Dense(128), Dense(10)),
        ),
    ),
    "mlp": Network((784,), (Dense(512), Dense(512), Dense(10))),
    "vgg": Network(
        (32, 32, 3),
        (
            *(Conv(64, "same"), Conv(64, "same"), Pool()),
            *(Conv(128, "same"), Conv(128, "same"), Pool()),
            *(Conv(256, "same"), Conv(256, "same"), Pool()),
            *(Flatten(), Dense(512), Dense(10)),
        ),
    ),
}
TRAINING_BATCHES = (32, 128, 512)
INFERENCE_BATCHES = (1, 32, 128, 512)
LEARNING_RATE, EPSILON = 1e-4, 1e-7  # of Adam, whose other numbers are the usual ones
CHECKED_STEPS = 2  # whose losses must agree


def flops(network: Network, training: bool) -> int:
    """Return the flop of one image."""
    total, first = 0, True
    for layer, before, after in network.shapes():
        if isinstance(layer, (Conv, Dense)):
            window = 9 * before[-1] if isinstance(layer, Conv) else before[-1]
            forward = 2 * math.prod(after) * window
            total += forward * ((2 if first else 3) if training else 1)
            first = False
    return total


def parameters(network: Network) -> int:
    """Return the number of parameters."""
    return sum(math.prod(shape) + shape[-1] for shape in network.kernel_shapes())


def traffic(network: Network, batch: int, training: bool) -> int:
    """Return the bytes of one step."""
    outputs = sum(math.prod(after) for layer, _, after in network.shapes() if not isinstance(layer, Flatten))
    activations = batch * (math.prod(network.input_shape) + 2 * outputs)
    if not training:
        return float_bytes(activations, parameters(network))
    return float_bytes(3 * activations, 3 * parameters(network), 7 * parameters(network))


def data(sizes: Mapping[str, object]) -> Data:
    network, batch = NETWORKS[str(sizes["network"])], int(str(sizes["batch"]))
    random = np.random.default_rng(1)
    x = random.standard_normal((batch, *network.input_shape)).astype(np.float32)
    return {"x": x, "y": random.integers(network.classes, size=batch).astype(np.int64)}


def _cases() -> Iterator[Case]:
    for name, network in NETWORKS.items():
        for op, training, batches in (
            ("training_step", True, TRAINING_BATCHES),
            ("inference", False, INFERENCE_BATCHES),
        ):
            for batch in batches:
                yield Case(
                    op,
                    f"{name}-{batch}",
                    {"network": name, "batch": batch},
                    batch * flops(network, training),
                    traffic(network, batch, training),
                    data,
                    tolerance=1e-3,
                    quick=batch == 32 and (name == "mlp" or (name == "cnn50" and training)),
                    is_model=True,
                    has_images=len(network.input_shape) == 3,
                )


CASES = tuple(_cases())
