"""Parity of devices: faults planted on one of them are found and named; what rounding explains is no fault."""

from __future__ import annotations

import copy
from typing import Any

import checks
import numpy as np
import pytest
from emulated_kernel import require_emulator
from parity_models import Faulty, X, Y, compared, small_model
from small_models import bits, digits, small_cnn

import gpunet
from gpunet import Activation, Dense, Dropout, Flatten, Input, Sequential
from gpunet.backend import random
from gpunet.backend.arrays import CPU, Array, Device, device_of
from gpunet.cli.models import find_model
from gpunet.inspection import Drift, Parity, parity
from gpunet.inspection.passes import run_pass
from gpunet.inspection.samples import random_inputs, random_targets
from gpunet.layers import Layer, dense, dropout
from gpunet.layers.base import Forward
from gpunet.optimizers import SGD
from gpunet.recipes import RECIPES


def _first(found: Parity) -> tuple[str, str, str]:
    row = found.first_beyond
    assert row is not None and not found.within_tolerance
    return row.layer, row.direction, row.array


@pytest.mark.parametrize("name", RECIPES)
def test_the_built_in_networks_are_within_tolerance(name: str, device: Device) -> None:
    with gpunet.device("cpu"):
        model = find_model(name)
    found = parity(model, random_inputs(model, 4), random_targets(model, 4), device=device, steps=2)
    assert found.within_tolerance and found.verdict == "All within a tolerance of 64."
    assert all(row.sensitivity is None for row in found.rows)
    passes = [row.direction for row in found.rows]
    assert passes == sorted(passes, key=["forward", "backward", "update"].index)
    forward = [row for row in found.rows if row.direction == "forward"]
    assert forward[-1].layer == "loss" and forward[-2].shape == (4, 10)
    updated = {(row.layer, row.array): row.shape for row in found.rows if row.direction == "update"}
    for path, parameter in model.parameters_by_path.items():
        layer, _, array = path.rpartition("/")
        assert updated[layer, array] == updated[layer, f"{array}/velocity"] == parameter.shape
    gradients = [row for row in found.rows if row.direction == "backward" and row.array in ("dkernel", "dbias")]
    assert len(gradients) == len(model.weights)
    if device == CPU:  # the same arithmetic, in the same order
        assert all(row.own == row.inherited == 0 for row in found.rows) and not any(found.drift.differences)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"forward_by": 1e-4}, ("middle", "forward", "y")),
        ({"backward_by": 1e-4}, ("middle", "backward", "dx")),
        ({"gradient_by": 1e-4}, ("middle", "backward", "da")),
        ({"forward_by": np.nan}, ("middle", "forward", "y")),
    ],
)
def test_a_faulty_layer_is_named(faults: dict[str, float], expected: tuple[str, str, str]) -> None:
    found = compared(small_model(Faulty(**faults, name="middle")))
    assert _first(found) == expected
    beyond = [row for row in found.rows if row.beyond]
    assert len(beyond) == 1, "the layers that inherit the fault are not faulty"
    assert not beyond[0].own < 300 and f"of {expected[0]}, {expected[2]}: " in found.verdict
    assert beyond[0].sensitivity is not None
    later = [row for row in found.rows if row.layer == "first" and row.array == "dkernel"]
    assert later[0].own < 4 and (later[0].inherited > 100 or faults == {"gradient_by": 1e-4})


def test_a_wrong_kernel_of_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dense.dense_kernel_gradient

    def wrong(x: Array, dy: Array, saved: Any, activation: Any, dw: Array, db: Array | None, scale: float = 1) -> None:
        right(x, dy, saved, activation, dw, db, scale)
        if device_of(x) != CPU:
            dw[0, 0] += 1  # one element of a corner

    monkeypatch.setattr(dense, "dense_kernel_gradient", wrong)
    assert _first(compared(small_model())) == ("last", "backward", "dkernel")


class _SkipsTheRate(SGD):
    """Takes steps of another length on devices."""

    def update(self, w: Array, gradient: Array, slots: Any) -> None:
        super().update(w, gradient, slots)
        if device_of(w) != CPU:
            w *= 1 + 1e-4


def test_a_wrong_update_is_named() -> None:
    found = compared(small_model(optimizer=_SkipsTheRate(0.1)), steps=1)
    assert _first(found) == ("first", "update", "kernel")
    assert not any(row.beyond for row in found.rows if row.direction != "update")
    assert found.drift.first_beyond is None, "the loss of the first step is from before the update"


class _Counting(Layer):
    """y = x, until on a device the third step comes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = 0

    def forward(self, x: Array, training: bool) -> Forward:
        self.steps += training
        factor = 1.01 if self.steps > 2 and device_of(x) != CPU else 1.0
        return x * factor, lambda dy: dy * factor


def test_a_fault_of_a_later_step_shows_in_the_loss() -> None:
    model = small_model(_Counting())
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    found = compared(model, steps=4)
    assert found.first_beyond is None and found.drift.first_beyond == 3 and not found.within_tolerance
    assert "but the loss of step 3: " in found.verdict and found.verdict in str(found)
    assert compared(model, steps=2).within_tolerance
    diverged = Drift((1.0, float("nan"), 2.0), (1.0, float("nan"), float("inf")), (0.0, 0.0, 9.0))
    assert diverged.differences == (0, 0, np.inf) and diverged.first_beyond == 3


def test_other_dropout_masks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dropout.dropout

    def wrong(x: Array, rate: float, key: Any) -> Any:
        return right(x, rate, key if device_of(x) == CPU else (key[0] + 1, *key[1:]))

    model = small_model(Dropout(0.5, name="drop"))
    assert compared(model).within_tolerance
    monkeypatch.setattr(dropout, "dropout", wrong)
    assert _first(compared(model)) == ("drop", "forward", "y")


class _Residual(Layer):
    """y = b(x + a(x)), whose sum is wrong on a device, as may be the sum on the way back."""

    def __init__(self, forward_by: float, backward_by: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.faults = (forward_by, backward_by)
        self.a, self.b = Dense(4, name="a"), Dense(4, name="b")

    def build(self, input_shape: Any) -> None:
        self.a.build(input_shape)
        self.b.build(input_shape)

    def forward(self, x: Array, training: bool) -> Forward:
        forward_by, backward_by = (0.0, 0.0) if device_of(x) == CPU else self.faults
        h, back_a = self.a.apply(x, training)
        y, back_b = self.b.apply(x + h * (1 + forward_by), training)

        def backward(dy: Array) -> Array:
            dh: Any = back_b(dy)
            return back_a(dh) + dh * (1 + backward_by)

        return y, backward


@pytest.mark.parametrize(
    ("faults", "expected"),
    [((1e-3, 0), ("res", "forward", "x of res/b")), ((0, 1e-3), ("res", "backward", "dx")), ((0, 0), None)],
)
def test_what_a_layer_does_between_its_inner_layers(faults: tuple[float, float], expected: Any) -> None:
    found = compared(small_model(_Residual(*faults, name="res")))
    names = {(row.layer, row.array) for row in found.rows}
    assert {("res/a", "y"), ("res/b", "y"), ("res", "x of res/b"), ("res/b", "dkernel"), ("res", "dx")} <= names
    assert ("res", "y") not in names, "it hands on what b made"
    if expected is None:
        assert found.within_tolerance
    else:
        assert _first(found) == expected


class _Averaging(Layer):
    """y = x; it keeps a running average of x, as normalizations do, another one on devices if `fault` is not 1."""

    def __init__(self, fault: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fault = fault

    def build(self, input_shape: Any) -> None:
        self.mean = self.add_weight((input_shape[-1],), "zeros", name="mean", trainable=False)

    def forward(self, x: Array, training: bool) -> Forward:
        if training:
            fault = 1.0 if device_of(x) == CPU else self.fault
            self.mean.assign(0.9 * self.mean.value + 0.1 * fault * x.mean(axis=0))
        return x, lambda dy: dy


@pytest.mark.parametrize("fault", [1.0, 1.001, 0.0])
def test_weights_that_a_layer_changes_itself(fault: float) -> None:
    found = compared(small_model(_Averaging(fault, name="average")))
    if fault == 1:
        assert found.within_tolerance
        assert [row.shape for row in found.rows if row.array == "mean"] == [(4,)]
    else:
        assert _first(found) == ("average", "update", "mean")


def test_nested_and_shared_layers() -> None:
    shared = Dense(4, "tanh", name="twice")
    inner = Sequential([Input((4,)), shared, Faulty(backward_by=1e-3, name="bad"), shared], name="inner")
    found = compared(small_model(inner))
    assert _first(found) == ("inner/bad", "backward", "dx")
    names = [(row.layer, row.array) for row in found.rows if row.direction == "backward"]
    assert names.index(("inner/twice #2", "dkernel")) < names.index(("inner/twice", "dkernel"))
    assert not any(layer == "inner" for layer, _ in names), "a network hands on what its layers made"
    updated = [row for row in found.rows if (row.layer, row.array) == ("inner/twice", "kernel")]
    assert len(updated) == 1 and updated[0].own < 4


def test_gradients_are_those_of_training() -> None:
    """The pass adds up what both uses of a shared layer give, as the step that the optimizer sees does."""
    shared = Dense(4, "tanh", name="twice")
    model = Sequential([Input((5,)), Dense(4), shared, Dropout(0.2), shared, Dense(3, activation="softmax")])
    model.compile(SGD(1.0), "sparse_categorical_crossentropy")
    found = run_pass(copy.deepcopy(model), (X, Y.astype(np.int32))).gradients
    before = {path: parameter.numpy() for path, parameter in model.parameters_by_path.items()}
    model.train_on_batch(X, Y)
    for path, parameter in model.parameters_by_path.items():
        checks.assert_same_bits(parameter.numpy(), before[path] - found[path])


class _Rounded(Layer):
    """y = relu(x - x reversed), where on a device another rounding takes a little more away: next to 0 that matters."""

    def forward(self, x: Array, training: bool) -> Forward:
        z = x - x[:, ::-1] - (0 if device_of(x) == CPU else 1e-8)
        sign = (z >= 0) * z.dtype.type(1)

        def backward(dy: Array) -> Array:
            dz = dy * sign
            return dz - dz[:, ::-1]

        return z * sign, backward


def test_a_relu_next_to_zero_is_explained() -> None:
    model = small_model(_Rounded(name="relu"))
    kernel = model.layers[0].get_weights()[0]
    kernel[:, 3] = kernel[:, 0]
    model.layers[0].set_weights([kernel, np.zeros(4)])
    found = compared(model)
    row = next(row for row in found.rows if (row.layer, row.array) == ("relu", "dx"))
    assert row.own > 1000 and row.sensitivity is not None and row.sensitivity > 1000 and not row.beyond
    assert found.first_beyond is None and "explained by its sensitivity" in str(found)


class _Elsewhere(Layer):
    """A layer with an array of its own, and with a layer that runs on the CPU only."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tables = [gpunet.to_device(np.full(4, 2, np.float32), gpunet.current_device())]

    def forward(self, x: Array, training: bool) -> Forward:
        table = self.tables[0]
        return x * table, lambda dy: dy * table


def test_arrays_of_own_layers_go_along() -> None:
    require_emulator()
    for place in ("cpu", "emulated"):
        with gpunet.device(place):
            model = small_model(_Elsewhere())
        assert compared(model).within_tolerance
        assert str(model.device) == str(device_of(model.layers[1].tables[0])) == place  # type: ignore[attr-defined]


class _Skewed(Layer):
    """y = x, a little more on a device; it has no weights."""

    def forward(self, x: Array, training: bool) -> Forward:
        return x * (1.0 if device_of(x) == CPU else 1.001), lambda dy: dy


@pytest.mark.parametrize("named", [True, False])
def test_a_model_without_weights_runs_on_both_devices_too(named: bool) -> None:
    require_emulator()
    model = Sequential([*([Input((3,))] if named else []), _Skewed(name="skewed"), Activation("softmax", name="end")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    if not named:
        model.build((None, 3))
    found = parity(model, X[:, :3], Y, device="emulated")
    assert _first(found) == ("skewed", "forward", "y") and found.drift.first_beyond == 1
    assert {row.direction for row in found.rows} == {"forward", "backward"}


class _OnOneOnly(Layer):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = Dense(4, name="inner")

    def build(self, input_shape: Any) -> None:
        self.inner.build(input_shape)

    def forward(self, x: Array, training: bool) -> Forward:
        return (x, lambda dy: dy) if device_of(x) == CPU else self.inner.apply(x, training)


def test_layers_that_do_not_run_alike() -> None:
    with pytest.raises(
        RuntimeError, match=r"layers must run alike on both devices; the .* pass of odd.* made .*nothing"
    ):
        compared(small_model(_OnOneOnly(name="odd")))


def test_the_model_stays_as_it_was() -> None:
    require_emulator()
    models = []
    for looked_at in (False, True):
        gpunet.set_random_seed(3)
        model = small_cnn()
        x, y = digits(24)
        model.fit(x, y, batch_size=8, verbose=0)
        before = bits(model), dict(random._state.counts)
        if looked_at:
            parity(model, x, y, 6, device="emulated", steps=2)
            assert (bits(model), random._state.counts) == before and model.optimizer is not None
            assert model.optimizer.iterations == 3
        model.fit(x, y, batch_size=8, verbose=0)
        models.append(model)
    assert bits(models[0]) == bits(models[1])


def test_other_kinds_of_models() -> None:
    frozen = small_model(
        Flatten(), Dense(4, activity_regularizer="l2", kernel_regularizer="l1", kernel_constraint="non_neg")
    )
    frozen.layers[0].trainable = False
    frozen.compile(gpunet.optimizers.Adam(0.01, clipnorm=0.5, weight_decay=0.1), "sparse_categorical_crossentropy")
    found = compared(frozen)
    assert found.within_tolerance and not any(row.layer == "first" for row in found.rows if row.direction != "forward")
    frozen.trainable = False
    found = compared(frozen)
    assert found.within_tolerance and {row.direction for row in found.rows} == {"forward", "backward"}
    wide = Sequential([Input((5,)), Dense(3, dtype="float64")])
    wide.compile("adam", "mse")
    batches = iter([(X.astype(np.float64), np.eye(6, 3))])
    assert parity(wide, batches, device="emulated").dtype == "float64"
