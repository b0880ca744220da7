"""Tracing: which ops are recorded, for whom, with how much work; and nothing while nobody asks."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import layers
from gpunet.backend.arrays import CPU, Array, Device
from gpunet.backend.clock import clock_of
from gpunet.networks.sequential import SequentialNetwork
from gpunet.ops import trace
from gpunet.ops.activation import Activation
from gpunet.ops.adam import adam
from gpunet.ops.arithmetic import add_in_place, scale, total
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.regularization import penalty
from gpunet.ops.sgd import sgd_momentum
from gpunet.ops.trace import BACKWARD, Call, part, recording

RELU, LINEAR, GELU = Activation.RELU, Activation.LINEAR, Activation.GELU
# What lies in gpunet/ops beside the ops: helpers of theirs, which no layer, loss or optimizer calls.
NO_OPS = {
    "axes",
    "choices",
    "contract",
    "convolution_direct",
    "convolution_host",
    "convolution_policy",
    "convolution_pooling_host",
    "convolution_sizes",
    "depthwise_host",
    "erf",
    "flat",
    "im2col",
    "labels",
    "normal",
    "normalization_groups",
    "normalization_host",
    "products",
    "resampling_weights",
    "rows",
    "tiles",
    "trace",
    "update",
    "windows",
    "winograd",
    "winograd_host",
}
HELPERS = {
    "accumulation": {"add_weighted", "check_state", "tally"},
    "activation": {"activate_host", "gradient_host", "unread_by_gradients"},
    "arithmetic": {"choose", "keep_where"},
    "confusion": {"counts_shape"},
    "cross_entropy": {"clipped", "is_clipped"},
    "dense": {
        "add_bias_and_activate",
        "launch_dense",
        "launch_input_gradient",
        "launch_kernel_gradient",
        "multiply_host",
    },
    "dropout": {"check_key", "check_rate", "generator_of", "scale_of_kept", "threshold_of"},
    "dropping": {"drop_host", "kernel_arguments"},
    "learning_rate": {"rate_at"},
    "glu": {"output_shape"},
    "nonfinite": {"first_note", "new_notes"},
    "optimizer_step": {"power"},
    "pooling": {"share_images"},
    "preparation": {"penalized"},
    "softmax_cross_entropy": {"smoothed"},
}


def _record(run: Any) -> list[Call]:
    with recording(clock_of(CPU)) as found:
        run()
    return found.calls


def _work(run: Any) -> tuple[int, int]:
    (call,) = _record(run)
    return call.flops, call.bytes


def _places(calls: list[Call]) -> list[tuple[str, str, str]]:
    return [(call.layer, call.direction, call.op) for call in calls]


def test_every_public_op_is_marked() -> None:
    for path in sorted(Path(trace.__file__).parent.glob("*.py")):
        if path.stem in NO_OPS or path.stem.startswith("__"):
            continue
        module = importlib.import_module(f"gpunet.ops.{path.stem}")
        defined = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        public = {name for name in defined if not name.startswith("_")}
        marked = {name for name in public if trace.is_op(getattr(module, name))}
        assert marked == public - HELPERS.get(path.stem, set()), path.name


def test_a_marked_op_stays_what_it_is() -> None:
    assert list(inspect.signature(adam).parameters)[:3] == ["w", "gradient", "momentum"]
    assert adam.__name__ == "adam" and (adam.__doc__ or "").startswith("m += (1 - beta_1)")
    examples = {test.name for test in doctest.DocTestFinder().find(sys.modules["gpunet.ops.dense"]) if test.examples}
    assert "gpunet.ops.dense.dense" in examples


def test_nothing_is_recorded_while_nobody_asks() -> None:
    x = np.ones(3)
    with recording(clock_of(CPU)) as found:
        scale(x, 2)
    scale(x, 2)
    with part("loss"):
        scale(x, 2)
    assert len(found.calls) == 1
    backward = object()
    assert trace.layer("dense", lambda: (x, backward))[1] is backward  # type: ignore[arg-type, return-value]


def test_other_threads_are_not_recorded() -> None:
    with recording(clock_of(CPU)) as found, ThreadPoolExecutor(1) as pool:
        pool.submit(scale, np.ones(3), 2.0).result()
        assert not found.calls
        pool.submit(copy_context().run, scale, np.ones(3), 2.0).result()
        assert len(found.calls) == 1


def test_an_op_inside_an_op_is_part_of_it(device: Device) -> None:
    w = checks.on(device, checks.normal(5000))
    calls = _record(lambda: penalty(w, 1.0, 1.0))  # which is total(partial sums) on a device
    assert [call.op for call in calls] == ["penalty"]
    assert [call.op for call in _record(lambda: total(w))] == ["total"]


def test_an_error_leaves_the_trace_in_order() -> None:
    with recording(clock_of(CPU)) as found:
        with pytest.raises(ValueError, match="scale: x must have at least one element"), part("loss"):
            scale(np.ones(0), 2)
        scale(np.ones(2), 2)
    assert _places(found.calls) == [("data", "forward", "scale")]


@pytest.mark.parametrize("activation", [RELU, LINEAR, GELU])
def test_the_work_of_dense(device: Device, activation: Activation) -> None:
    m, k, n = 3, 5, 7
    x, w, b, dy = (checks.on(device, checks.normal(*shape)) for shape in ((m, k), (k, n), (n,), (m, n)))
    active, apart, saved = activation is not LINEAR, activation is GELU, checks.on(device, checks.normal(m, n))
    y_bytes = 4 * m * n * (2 if apart else 1)
    assert _work(lambda: dense(x, w, b, activation)) == (
        2 * 105 + 21 + 21 * active,
        4 * (15 + 35 + 7) + y_bytes,
    )
    assert _work(lambda: dense(x, w, None, activation))[0] == 210 + 21 * active
    assert _work(lambda: dense_input_gradient(dy, saved, w, activation)) == (
        210 + 21 * active,
        4 * (21 + 21 * active + 35 + 15),
    )
    dw, db = (checks.on(device, checks.normal(*shape)) for shape in ((k, n), (n,)))
    assert _work(lambda: dense_kernel_gradient(x, dy, saved, activation, dw, db)) == (
        210 + 21 * active + 21,
        4 * (15 + 21 + 21 * active + 35 + 7),
    )
    without_bias = 210 + 21 * active, 4 * (15 + 21 + 21 * active + 35)
    assert _work(lambda: dense_kernel_gradient(x, dy, saved, activation, dw, None)) == without_bias


def test_the_work_of_convolution(device: Device) -> None:
    """2 images of 6x6x4, 3x3 filters in 2 groups, strides of 2, no padding: windows of 3x3 at 2x2 places."""
    geometry = Geometry(strides=(2, 2), groups=2)
    x, w, b = (checks.on(device, checks.normal(*shape)) for shape in ((2, 6, 6, 4), (3, 3, 2, 10), (10,)))
    y, products = 2 * 2 * 2 * 10, 2 * 2 * 2 * 10 * 3 * 3 * 2
    sizes = 4 * 2 * 36 * 4, 4 * 3 * 3 * 2 * 10, 4 * 10, 4 * y  # bytes of x, w, b, y
    assert _work(lambda: convolution(x, w, b, RELU, geometry)) == (2 * products + 2 * y, sum(sizes))
    dy = checks.on(device, checks.normal(2, 2, 2, 10))
    assert _work(lambda: convolution_input_gradient(dy, dy, w, LINEAR, geometry, x.shape)) == (
        2 * products,
        sizes[3] + sizes[1] + sizes[0],
    )
    saved = checks.on(device, checks.normal(2, 2, 2, 10))
    dw, db = (checks.on(device, checks.normal(*shape)) for shape in ((3, 3, 2, 10), (10,)))
    assert _work(lambda: convolution_kernel_gradient(x, dy, saved, RELU, geometry, dw, db)) == (
        2 * products + 2 * y,
        sizes[0] + 2 * sizes[3] + sizes[1] + sizes[2],
    )
    assert _work(lambda: convolution_gradients(x, dy, saved, w, RELU, geometry, dw, db)) == (
        4 * products + 2 * y,
        2 * sizes[0] + 2 * sizes[3] + 2 * sizes[1] + sizes[2],
    )


def test_the_work_of_updates_in_place(device: Device) -> None:
    n, rate = 10, checks.on(device, np.array([0.1]))
    w, g, m, v = (checks.on(device, checks.normal(n, seed=seed) ** 2) for seed in range(4))
    # By hand: m takes 3, v takes 4, the update a root, a sum, a quotient, a product and a difference.
    assert _work(lambda: adam(w, g, m, v, rate, 0.9, 0.999, 1e-7)) == (12 * n, 4 * 7 * n + 8)
    assert _work(lambda: sgd_momentum(w, g, m, rate, 0.9, nesterov=False)) == (4 * n, 4 * 5 * n + 8)
    assert _work(lambda: add_in_place(w, g)) == (n, 4 * 3 * n)


def _trace_network(network: SequentialNetwork, x: Array) -> list[tuple[str, str, str]]:
    def run() -> None:
        y, backward = network.forward(x, True)
        backward(y)

    network.prepare_gradients(needs_input_gradient=True)
    return _places(_record(run))


def test_layers_are_named_in_both_passes(device: Device) -> None:
    """A shared layer, a network in a network, a fused activation, and a layer as an activation."""
    shared = layers.Dense(4, name="shared")
    inner = SequentialNetwork([layers.Dense(4, name="first"), layers.ReLU(name="relu")], name="inner")
    own = layers.Dense(4, activation=layers.ReLU(6, name="six"), name="own")
    network = SequentialNetwork([gpunet.Input((4,)), shared, inner, shared, own])
    x = checks.on(device, checks.normal(2, 4))
    assert _trace_network(network, x) == [
        ("shared", "forward", "dense"),
        ("inner/first + relu", "forward", "dense"),
        ("shared", "forward", "dense"),
        ("own", "forward", "dense"),
        ("own/six", "forward", "relu"),
        ("own/six", "backward", "relu_gradient"),
        ("own", "backward", "dense_kernel_gradient"),
        ("own", "backward", "dense_input_gradient"),
        ("shared", "backward", "dense_kernel_gradient"),
        ("shared", "backward", "dense_input_gradient"),
        ("inner/first + relu", "backward", "dense_kernel_gradient"),
        ("inner/first + relu", "backward", "dense_input_gradient"),
        ("shared", "backward", "dense_kernel_gradient"),
        ("shared", "backward", "add_in_place"),
        ("shared", "backward", "add_in_place"),
        ("shared", "backward", "dense_input_gradient"),
    ]


def test_an_observer_sees_what_layers_give_in_both_passes(device: Device) -> None:
    class Seeing(trace.Observer):
        def see(self, array: Array | None) -> None:
            seen.append((*self._place, None if array is None else array.shape))

    seen: list[Any] = []
    inner = SequentialNetwork([layers.Dense(3, name="b"), layers.ReLU(name="r")], name="inner")
    network = SequentialNetwork([layers.Input((4,)), layers.Dense(2, name="a"), inner])
    network.prepare_gradients()
    x, dy = checks.on(device, checks.normal(5, 4), checks.normal(5, 3))
    with trace.observed(Seeing()):
        _, backward = network.forward(x, True)
        with part("loss"):
            trace.show(dy)
        backward(dy)
    trace.show(dy)
    forward = [("a", "forward", (5, 2)), ("inner/b + r", "forward", (5, 3)), ("inner", "forward", (5, 3))]
    back = [("inner/b + r", "backward", (5, 2)), ("inner", "backward", (5, 2)), ("a", "backward", None)]
    assert seen == [*forward, ("loss", "forward", (5, 3)), *back]


def test_parts_of_a_step_and_layers_do_not_mix() -> None:
    x = np.ones(3)

    def forward() -> tuple[Array, Any]:
        with part("loss"):
            scale(x, 1)
        scale(x, 1)
        return x, lambda dy: scale(dy, 1)

    def run() -> None:
        with part("metrics", BACKWARD):
            _, backward = trace.layer("a", forward)
        backward(x)
        scale(x, 1)

    assert _places(_record(run)) == [
        ("loss", "forward", "scale"),
        ("a", "forward", "scale"),
        ("a", "backward", "scale"),
        ("data", "forward", "scale"),
    ]
