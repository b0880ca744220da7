"""gpunet itself: ops as layers call them, networks as its users do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import gpunet
from bench.cases import adam as adam_case
from bench.cases import convolution_transposed as transposed_case
from bench.cases import dropout as dropout_case
from bench.cases import models
from bench.cases import moves as moves_case
from bench.cases import normalization as normalization_case
from bench.cases import rmsprop as rmsprop_case
from bench.cases.case import Data, HostArray
from bench.rivals.sequential import sequential
from bench.rivals.side import Run, Side, cupy_seconds
from gpunet.backend import arrays, devices
from gpunet.backend.arrays import Array, device_of, empty, empty_like
from gpunet.losses import SparseCategoricalCrossentropy
from gpunet.ops import convolution as conv
from gpunet.ops import convolution_pooling as conv_pool
from gpunet.ops import merging, pooling
from gpunet.ops.activation import Activation
from gpunet.ops.adam import adam
from gpunet.ops.affine import affine
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.convolution_transposed import convolution_transposed
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.dropout import dropout
from gpunet.ops.embedding import embedding_gradient
from gpunet.ops.flat import Layout
from gpunet.ops.gather import gather
from gpunet.ops.nonfinite import first_note, new_notes, note_nonfinite
from gpunet.ops.normalization import Statistic, normalize, normalize_gradient
from gpunet.ops.normalization_groups import Grouping, by_axes, over_axes
from gpunet.ops.pointwise import Pointwise, pointwise, pointwise_gradient
from gpunet.ops.preparation import Rules
from gpunet.ops.resampling import resample
from gpunet.ops.rmsprop import rmsprop
from gpunet.ops.windows import window_pads

Sizes = Mapping[str, Any]
Op = tuple[Run, Callable[[], list[Any]]]


class GpunetSide(Side):
    def __init__(self, mode: str, device: str, threads: int) -> None:
        super().__init__(mode, device, threads)
        gpunet.set_device(device)
        self._place = arrays.parse_device(device)
        self._cupy: Any = arrays.import_cupy() if device == "cuda" else None

    def versions(self) -> dict[str, str]:
        versions = {"gpunet": gpunet.__version__, "NumPy": np.__version__}
        if self._cupy is not None:
            versions["CuPy"] = self._cupy.__version__
        return versions

    def synchronize(self) -> None:
        if self._cupy is not None:
            self._cupy.cuda.Device().synchronize()

    def to_host(self, outputs: Any) -> HostArray:
        return np.asarray(outputs if isinstance(outputs, list) else arrays.to_host(outputs))

    def device_name(self) -> str:
        return devices.examine(self._place).name

    def device_memory(self) -> int | None:
        # The pool gives nothing back by itself: what it has taken is the peak.
        return None if self._cupy is None else int(self._cupy.get_default_memory_pool().total_bytes())

    def device_seconds(self, run: Run, repetitions: int) -> list[float]:
        return cupy_seconds(self._cupy, run, repetitions)

    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        model = sequential(models.NETWORKS[name], gpunet)
        x, y = data["x"], data["y"]
        return lambda: float(model.train_on_batch(x, y)), lambda: model.predict_on_batch(x)

    def _on_device(self, data: Data, *names: str) -> list[Array]:
        return [arrays.to_device(data[name], self._place) for name in names]

    # Ops.

    def dense_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b = self._on_device(data, "x", "w", "b")
        return _op(lambda: dense(x, w, b, Activation.RELU)[:1])

    def dense_backward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b, y, dy = self._on_device(data, "x", "w", "b", "y", "dy")
        dw, db = empty_like(w), empty_like(b)

        def run() -> tuple[Any, ...]:
            dense_kernel_gradient(x, dy, y, Activation.RELU, dw, db)
            return dense_input_gradient(dy, y, w, Activation.RELU), dw, db

        return _op(run)

    def convolution_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b = self._on_device(data, "x", "w", "b")
        geometry = _geometry(sizes)
        return _op(lambda: conv.convolution(x, w, b, Activation.RELU, geometry)[:1])

    def convolution_data_gradient(self, data: Data, sizes: Sizes) -> Op:
        x, w, dy = self._on_device(data, "x", "w", "dy")
        geometry, linear = _geometry(sizes), Activation.LINEAR
        return _op(lambda: (conv.convolution_input_gradient(dy, dy, w, linear, geometry, x.shape),))

    def convolution_filter_gradient(self, data: Data, sizes: Sizes) -> Op:
        x, w, dy = self._on_device(data, "x", "w", "dy")
        geometry, linear = _geometry(sizes), Activation.LINEAR
        dw, db = empty_like(w), empty(w.shape[-1:], w.dtype, device_of(w))

        def run() -> tuple[Any, ...]:
            conv.convolution_kernel_gradient(x, dy, dy, linear, geometry, dw, db)
            return dw, db

        return _op(run)

    def convolution_backward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b, dy = self._on_device(data, "x", "w", "b", "dy")
        geometry, linear = _geometry(sizes), Activation.LINEAR
        dw, db = empty_like(w), empty_like(b)
        return _op(lambda: (conv.convolution_gradients(x, dy, dy, w, linear, geometry, dw, db), dw, db))

    def winograd_forward(self, data: Data, sizes: Sizes) -> Op:
        return _by_winograd(self.convolution_forward(data, sizes))

    def winograd_data_gradient(self, data: Data, sizes: Sizes) -> Op:
        return _by_winograd(self.convolution_data_gradient(data, sizes))

    def convolution_pooling_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b = self._on_device(data, "x", "w", "b")
        how = Activation.RELU, _geometry(sizes), "same"
        return _op(lambda: conv_pool.convolution_pooling(x, w, b, *how)[:1])

    def convolution_pooling_backward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b, dy = self._on_device(data, "x", "w", "b", "dy")
        how = Activation.RELU, _geometry(sizes), "same"
        _, saved, winner = conv_pool.convolution_pooling(x, w, b, *how)
        dw, db = empty_like(w), empty_like(b)

        def run() -> tuple[Any, ...]:
            dx = conv_pool.convolution_pooling_gradients(x, dy, saved, winner, w, *how, dw, db)
            return dx, dw, db

        return _op(run)

    def convolution_transposed_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b = self._on_device(data, "x", "w", "b")
        size = transposed_case.STRIDE * sizes["h"]
        how = Activation.RELU, transposed_case.GEOMETRY, (len(x), size, size, sizes["f"])
        return _op(lambda: convolution_transposed(x, w, b, *how)[:1])

    def max_pooling_forward(self, data: Data, sizes: Sizes) -> Op:
        (x,) = self._on_device(data, "x")
        return _op(lambda: pooling.max_pooling(x, 2, 2, "same")[:1])

    def max_pooling_backward(self, data: Data, sizes: Sizes) -> Op:
        x, dy = self._on_device(data, "x", "dy")
        winner = pooling.max_pooling(x, 2, 2, "same")[1]
        return _op(lambda: (pooling.max_pooling_gradient(dy, winner, 2, 2, "same", x.shape),))

    def average_pooling_forward(self, data: Data, sizes: Sizes) -> Op:
        (x,) = self._on_device(data, "x")
        return _op(lambda: (pooling.average_pooling(x, 2, 2, "same"),))

    def average_pooling_backward(self, data: Data, sizes: Sizes) -> Op:
        x, dy = self._on_device(data, "x", "dy")
        return _op(lambda: (pooling.average_pooling_gradient(dy, 2, 2, "same", x.shape),))

    def batch_normalization_forward(self, data: Data, sizes: Sizes) -> Op:
        return self._normalization_forward(data, by_axes("bench", data["x"].shape, (3,)))

    def batch_normalization_backward(self, data: Data, sizes: Sizes) -> Op:
        return self._normalization_backward(data, by_axes("bench", data["x"].shape, (3,)))

    def layer_normalization_forward(self, data: Data, sizes: Sizes) -> Op:
        return self._normalization_forward(data, over_axes("bench", data["x"].shape, (1,)))

    def layer_normalization_backward(self, data: Data, sizes: Sizes) -> Op:
        return self._normalization_backward(data, over_axes("bench", data["x"].shape, (1,)))

    def _normalization_forward(self, data: Data, grouping: Grouping) -> Op:
        x, gamma, beta = self._on_device(data, "x", "gamma", "beta")
        return _op(lambda: normalize(x, grouping, Statistic(normalization_case.EPSILON), gamma, beta)[:1])

    def _normalization_backward(self, data: Data, grouping: Grouping) -> Op:
        x, dy, gamma, beta = self._on_device(data, "x", "dy", "gamma", "beta")
        statistic = Statistic(normalization_case.EPSILON)
        _, mean, scale = normalize(x, grouping, statistic, gamma, beta)
        dgamma, dbeta = empty_like(gamma), empty_like(beta)

        def run() -> tuple[Any, ...]:
            return normalize_gradient(dy, x, mean, scale, grouping, statistic, gamma, dgamma, dbeta), dgamma, dbeta

        return _op(run)

    def softmax_cross_entropy(self, data: Data, sizes: Sizes) -> Op:
        (logits,) = self._on_device(data, "logits")
        labels = arrays.to_device(data["labels"].astype(np.int32), self._place)
        loss = SparseCategoricalCrossentropy(from_logits=True)

        def run() -> tuple[Any, ...]:
            value, backward = loss.forward(labels, logits)
            return value, backward()

        return _op(run)

    def adam(self, data: Data, sizes: Sizes) -> Op:
        w, g, m, v = self._on_device(data, "w", "g", "g", "g")
        m, v = 0 * m, 0 * v
        case = adam_case
        first = case.LEARNING_RATE * (1 - case.BETA_2) ** 0.5 / (1 - case.BETA_1)  # of step 1, bias corrected
        step_size = arrays.to_device(np.array([first]), self._place)

        def run() -> tuple[Any, ...]:
            adam(w, g, m, v, step_size, case.BETA_1, case.BETA_2, case.EPSILON)
            return (w,)

        return _op(run)

    def add(self, data: Data, sizes: Sizes) -> Op:
        xs = list(self._on_device(data, "x0", "x1"))
        return _op(lambda: (merging.add(xs),))

    def concatenate(self, data: Data, sizes: Sizes) -> Op:
        xs = list(self._on_device(data, "x0", "x1"))
        return _op(lambda: (merging.concatenate(xs, 3),))

    def rmsprop(self, data: Data, sizes: Sizes) -> Op:
        w, g, v = self._on_device(data, "w", "g", "g")
        v = 0 * v
        case = rmsprop_case
        rate = arrays.to_device(np.array([case.LEARNING_RATE]), self._place)

        def run() -> tuple[Any, ...]:
            rmsprop(w, g, v, None, None, rate, case.RHO, 0.0, case.EPSILON)
            return (w,)

        return _op(run)

    def dropout(self, data: Data, sizes: Sizes) -> Op:
        (x,) = self._on_device(data, "x")
        steps = iter(range(2**62))

        def outputs() -> list[Any]:
            y, _ = dropout(x, dropout_case.RATE, (0, 1, next(steps)))
            return [dropout_case.summary(data["x"], self.to_host(y))]

        return lambda: dropout(x, dropout_case.RATE, (0, 1, next(steps))), outputs

    def mish(self, data: Data, sizes: Sizes) -> Op:
        x, dy = self._on_device(data, "x", "dy")
        return _op(lambda: (pointwise(x, Pointwise.MISH), pointwise_gradient(dy, x, Pointwise.MISH)))

    def gather(self, data: Data, sizes: Sizes) -> Op:
        source, order = self._on_device(data, "source", "order")
        position = arrays.zeros((1,), np.int64, self._place)
        out = arrays.empty((sizes["n"], sizes["features"]), np.float32, self._place)

        def run() -> tuple[Any, ...]:
            gather(source, order, position, out)
            return (out,)

        return _op(run)

    def resizing(self, data: Data, sizes: Sizes) -> Op:
        (x,), to = self._on_device(data, "x"), sizes["to"]
        how = moves_case.RESIZING
        return _op(lambda: (resample(resample(x, 1, to, how), 2, to, how),))

    def rotation(self, data: Data, sizes: Sizes) -> Op:
        x, matrices = self._on_device(data, "x", "matrices")
        return _op(lambda: (affine(x, matrices, x.shape[1:3], *moves_case.ROTATION),))

    def embedding_backward(self, data: Data, sizes: Sizes) -> Op:
        x, dy = self._on_device(data, "x", "dy")
        dtable = arrays.empty((sizes["words"], sizes["width"]), np.float32, self._place)

        def run() -> tuple[Any, ...]:
            embedding_gradient(dy, x, dtable)
            return (dtable,)

        return _op(run)

    def nonfinite(self, data: Data, sizes: Sizes) -> Op:
        layout, none = Layout([(sizes["n"],)]), [(0.0, 0.0)]
        rules = Rules(layout, none, [0.0], np.float32, self._place)
        loss, steps = arrays.zeros((1, 2), np.float64, self._place), arrays.full((1,), 1, np.int64, self._place)

        def flat(g: Array) -> Array:
            padded = np.zeros(layout.size, np.float32)
            padded[: sizes["n"]] = g
            return arrays.to_device(padded, self._place)

        def look(g: Array, notes: Array) -> None:
            note_nonfinite(g, g, rules, slice(0, 1), loss, steps, notes, 1)

        def is_finite(g: Array) -> Any:
            notes = new_notes(self._place)
            look(flat(g), notes)
            return np.array([first_note(self.to_host(notes)) is None], np.float32)

        g, notes = flat(data["g"]), new_notes(self._place)
        return lambda: look(g, notes), lambda: [is_finite(data["g"]), is_finite(data["bad"])]


def _op(run: Callable[[], Any]) -> Op:
    return run, lambda: list(run())


def _by_winograd(op: Op) -> Op:
    """Return an op that does what `op` does, by Winograd's products where they are taken."""

    def run(what: Callable[[], Any]) -> Any:
        with gpunet.convolution("winograd"):
            return what()

    return partial(run, op[0]), partial(run, op[1])


def _geometry(sizes: Sizes) -> Geometry:
    pads = window_pads(sizes["h"], sizes["r"], sizes["stride"], 1, sizes["padding"])
    return Geometry(strides=(sizes["stride"],) * 2, pads=(pads, pads), groups=sizes["groups"])


SIDE = GpunetSide
