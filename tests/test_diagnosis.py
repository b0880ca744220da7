"""What is named as the first number of a training step that is not finite (training/diagnosis.py)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from watched import (
    ADVICE,
    FIRST,
    LAST,
    MIDDLE,
    SIZE,
    Pass,
    Square,
    Steep,
    assert_same_state,
    error_of,
    fit,
    new_data,
    new_model,
    planted,
)

import gpunet
from gpunet import Dense, Input, ReLU, Sequential
from gpunet.backend.arrays import Array, Device, to_device
from gpunet.callbacks import LambdaCallback
from gpunet.layers import Layer
from gpunet.regularizers import Regularizer


class _Growing(Regularizer):
    """r(w) = 0, it says, with a gradient of -w^2."""

    def value(self, w: Array) -> Array:
        return 0 * w.reshape(-1)[:1]

    def add_gradient(self, w: Array, dw: Array) -> None:
        dw -= w * w


@pytest.mark.parametrize(
    "penalty, start, clips, step, got",
    [
        (_Growing(), 1e10, {}, 2, "-inf"),
        (_Growing(), 1e20, {"clipvalue": 1.0}, 1, "-inf"),
        (gpunet.regularizers.L2(3e38), 0.9, {}, 1, "inf"),
        (gpunet.regularizers.L2(3e38), 0.9, {"global_clipnorm": 1.0}, 1, "inf"),
    ],
)
def test_gradients_of_penalties(
    device: Device, penalty: Regularizer, start: float, clips: dict[str, float], step: int, got: str
) -> None:
    """The user's own, and L2 where 2 l2 w is too large and l2 w^2 is not; clipping does not hide them."""

    def trained(steps: int, nonfinite: str) -> Sequential:
        initial = gpunet.initializers.Constant(start)
        own = Dense(1, use_bias=False, kernel_initializer=initial, kernel_regularizer=penalty, name="own")
        model = Sequential([Input((1,)), own], name="net")
        model.compile(gpunet.optimizers.SGD(1.0, momentum=0.5, **clips), "mse", nonfinite=nonfinite)
        assert model.optimizer is not None
        model.optimizer.build(model.weights)
        for _ in range(steps):
            model.train_on_batch(np.zeros((2, 1)), np.zeros((2, 1)))
        return model

    model = trained(step - 1, "raise")
    where = rf"^Sequential 'net': gradients must be finite; got {got} in the gradient of the penalty on own/kernel, "
    with pytest.raises(FloatingPointError, match=rf"{where}in step {step};"):
        model.train_on_batch(np.zeros((2, 1)), np.zeros((2, 1)))
    assert_same_state(model, trained(step - 1, "ignore"))


def test_a_penalty_that_overflows_is_named(device: Device) -> None:
    model = new_model(Dense(4, kernel_regularizer="l2", name="own"))
    model.layers[0].kernel.assign(np.full((4, 4), 1e20))
    x, y = new_data()
    error = error_of(model, 0 * x, y)
    assert error.startswith("Sequential 'net': loss must be finite; got inf in the penalty on own/kernel, in step 1, ")


def test_an_activity_penalty_that_overflows_is_named(device: Device) -> None:
    x, y = planted("forward", MIDDLE)
    error = error_of(new_model(Dense(3, activity_regularizer="l2"), Steep()), x, y)
    assert error.startswith(
        "Sequential 'net': loss must be finite; got inf in a penalty that joins the loss, in step 4, "
    )


class _Vanishing(gpunet.losses.Loss):
    """The mean of -log |y| and its gradient."""

    def per_sample(self, y_true: Array, y_pred: Array) -> Any:
        return -np.log(np.abs(y_pred)).mean(axis=-1), lambda scale: -scale / y_pred.shape[-1] / y_pred


def test_the_log_of_0(device: Device) -> None:
    model = Sequential([Input((4,)), Dense(2, use_bias=False, name="own")], name="net")
    model.compile("sgd", _Vanishing(), nonfinite="raise")
    x, y = new_data()
    x[SIZE * LAST :] = 0
    error = error_of(model, x, y)
    assert error.startswith(
        "Sequential 'net': loss must be finite; got inf in the loss, in step 6, batch 5 of its epoch; "
    )


class _SteepLoss(gpunet.losses.Loss):
    """The mean of y, of which backward says that the gradient is the square of the targets."""

    def per_sample(self, y_true: Array, y_pred: Array) -> Any:
        return y_pred.mean(axis=-1), lambda scale: y_true * y_true * scale


def test_the_gradient_of_the_loss(device: Device) -> None:
    model = new_model()
    model.compile("sgd", _SteepLoss(), nonfinite="raise")
    error = error_of(model, *planted("loss", MIDDLE))
    got = "inf in the gradient of the loss for the output at index (1, 0), in step 4, batch 3 of its epoch"
    assert error == f"Sequential 'net': gradients must be finite; got {got}; {ADVICE}"


def test_a_huge_learning_rate(device: Device) -> None:
    """Weights stay finite in the first update, but no product with them does."""
    model = new_model(optimizer=gpunet.optimizers.SGD(1e38))
    error = error_of(model, *new_data())
    assert re.match(
        r"Sequential 'net': (outputs|loss) must be finite; got -?(inf|nan) in .*, in step 2, batch 1 ", error
    )
    reference = new_model(nonfinite="ignore", optimizer=gpunet.optimizers.SGD(1e38))
    x, y = new_data()
    fit(reference, x[:SIZE], y[:SIZE])
    assert_same_state(model, reference)


@pytest.mark.parametrize("what", ["x", "y", "weights"])
def test_what_was_not_finite_before_the_step_is_said(device: Device, what: str) -> None:
    """Data is checked when it is handed over; here it changes while it is used."""
    data = [to_device(array, device) for array in new_data()]
    model = new_model()

    def spoil(epoch: int, logs: Any) -> None:
        if what == "weights":
            model.layers[0].kernel.assign(np.full((4, 5), np.nan))
        else:
            data["xy".index(what)][9, 1] = np.nan

    name = "a/kernel at index (0, 0) before the forward pass" if what == "weights" else f"{what} at index (1, 1)"
    place = "step 7, batch 0 of its epoch" if what == "weights" else "step 8, batch 1 of its epoch"
    advice = "a smaller learning_rate, or clipnorm, may help" if what == "weights" else "correct the data"
    error = error_of(model, *data, epochs=3, callbacks=LambdaCallback(on_epoch_end=spoil))
    rest = f"in {place}; the model is as it was before that step; {advice}"
    assert error == f"Sequential 'net': {what} must be finite; got nan in {name}, {rest}"


def test_layers_inside_are_named(device: Device) -> None:
    x, y = planted("forward", MIDDLE)
    shared = Pass(name="shared")
    inner = Sequential([shared, Sequential([Square(name="own")], name="core"), shared], name="inner")
    error = error_of(new_model(shared, inner), x, y)
    assert "got inf in the output of inner/core/own at index (1, 2), in step 4, " in error
    x, y = planted("backward", MIDDLE)
    error = error_of(new_model(Sequential([Pass(), Steep(name="own")], name="inner")), x, y)
    assert "got inf in the gradient of inner/own/a at index (2,), in step 4, " in error


class _SteepBack(Layer):
    """y = 1e-30 x, of which backward says that dx = x^2 dy."""

    def forward(self, x: Array, training: bool) -> Any:
        return x * np.float32(1e-30), lambda dy: dy * (x * x)


def test_the_gradient_of_an_input(device: Device) -> None:
    x, y = planted("backward", MIDDLE)
    error = error_of(new_model(Dense(4), _SteepBack(name="own")), x, y)
    got = r"got -?inf in the gradient of the input of own at index \(1, 0\), in step 4, "
    assert re.match(f"Sequential 'net': gradients must be finite; {got}", error)


class _SteepBelow(Layer):
    """y = x, of which backward says that the gradient of a is the sum of x^2 dy."""

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a")

    def forward(self, x: Array, training: bool) -> Any:
        def backward(dy: Array) -> Array:
            self.a.add_gradient((dy * (x * x)).sum(axis=0))
            return dy

        return x, backward


def test_on_the_way_back_the_upper_layer_comes_first_also_one_of_two_that_run_as_one(device: Device) -> None:
    """The gradient of d's kernel is x^T dz: HUGE times what a huge target makes of dz."""
    x, y = planted("backward", FIRST)
    y[1] = 1e10
    model = new_model(_SteepBelow(), Dense(3, name="d"), ReLU(name="r"))
    assert "\nd + r " in model.explain_fusion()
    model.layers[1].kernel.assign(np.full((4, 3), 1e-30))
    error = error_of(model, x, y)
    got = r"got -?inf in the gradient of d/kernel at index \(2, 0\), in step 1, "
    assert re.match(f"Sequential 'net': gradients must be finite; {got}", error), error


class _Unsteady(Layer):
    """y = x, but infinite in its fourth run in training."""

    def forward(self, x: Array, training: bool) -> Any:
        self.runs = getattr(self, "runs", 0) + training
        return x * np.float32(np.inf if self.runs == 4 else 1), lambda dy: dy


def test_what_a_second_run_does_not_show_is_said(device: Device) -> None:
    error = error_of(new_model(_Unsteady(name="own"), run_eagerly=True), *new_data())
    got = "others, which a second run of the step does not have, in step 4, batch 3 of its epoch"
    assert error == f"Sequential 'net': loss and gradients must be finite; got {got}; {ADVICE}"
