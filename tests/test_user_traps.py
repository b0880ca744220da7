"""What people trip over, or rely on without knowing: defaults, hidden rules, and what stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from small_models import column, linear

import gpunet
from gpunet import layers, optimizers
from gpunet.backend.arrays import Device
from gpunet.callbacks import EarlyStopping
from gpunet.models import Model, Sequential
from gpunet.saving import container, model_file
from gpunet.training.checkpoint import weights_of

COUNTED = np.arange(1, 17, dtype=np.float32).reshape(1, 4, 4, 1)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Conv2D(1, 3, 2, "same", kernel_initializer="ones"), [[54, 45], [72, 54]]),
        (lambda: layers.MaxPooling2D(3, 2, "same"), [[11, 12], [15, 16]]),
        (lambda: layers.AveragePooling2D(3, 2, "same"), [[6, 7.5], [12, 13.5]]),
    ],
    ids=["Conv2D", "MaxPooling2D", "AveragePooling2D"],
)
def test_same_with_strides_of_2_pads_behind_first(device: Device, layer: Any, expected: Any) -> None:
    """Of one row of padding all is behind, and averages leave it out."""
    made = layer()
    np.testing.assert_allclose(checks.host(made(checks.on(device, COUNTED)))[0, :, :, 0], expected, rtol=1e-6)


def test_a_frozen_batch_normalization_stays_as_it_is(device: Device) -> None:
    frozen = layers.BatchNormalization(trainable=False)
    model = Sequential([layers.Input((3,)), layers.Dense(4, trainable=False), frozen, layers.Dense(1)])
    model.compile("sgd", "mse")
    frozen.set_weights([value + 0.5 for value in frozen.get_weights()])
    x = checks.normal(16, 3)
    below = Sequential(model.layers[:2])
    weights, outputs, top = frozen.get_weights(), below.predict(x, verbose=0), model.layers[-1].get_weights()[0]
    model.fit(x, x[:, :1] * 9, epochs=2, verbose=0)
    for before, after in zip(weights, frozen.get_weights(), strict=True):
        checks.assert_same_bits(after, before)
    checks.assert_same_bits(below.predict(x, verbose=0), outputs)
    checks.assert_same_bits(checks.host(below(checks.on(device, x), training=True)), outputs)
    assert (model.layers[-1].get_weights()[0] != top).any()


@pytest.mark.parametrize(("restores", "weight"), [(True, -3), (False, -27)])
def test_early_stopping_restores_the_best_weights_when_all_epochs_have_run(restores: bool, weight: float) -> None:
    """Steps of 8 w for a loss of 4 w^2 go from w = 1 to -3, 9, -27; the best loss is that of the first epoch."""
    model = linear()
    stop = EarlyStopping(monitor="loss", patience=9, restore_best_weights=restores)
    history = model.fit(column(2), column(0), epochs=3, verbose=0, callbacks=[stop]).history
    assert history["loss"] == [4, 36, 324] and stop.stopped_epoch == 0
    assert model.get_weights()[0] == weight


def test_sample_weights_count_in_the_loss_and_not_in_plain_metrics() -> None:
    """The sum of the weighted losses is divided by the number of samples; weighted_metrics have tests of their own."""
    model = linear()
    model.compile("sgd", "mse", metrics=["binary_accuracy"])
    weighed = model.evaluate(column(1, 2), column(1, 0), sample_weight=np.array([3, 0.5]), verbose=0, return_dict=True)
    assert weighed == pytest.approx({"loss": (3 * 0 + 0.5 * 4) / 2, "binary_accuracy": 1 / 2})


def test_defaults() -> None:
    def shown(thing: Any, *names: str) -> dict[str, Any]:
        config = thing.get_config()
        return {name: config[name] for name in names}

    rate = "learning_rate"
    sgd = shown(optimizers.SGD(), rate, "momentum", "nesterov")
    assert sgd == pytest.approx({rate: 0.01, "momentum": 0.0, "nesterov": False})
    adam = shown(optimizers.Adam(), rate, "beta_1", "beta_2", "epsilon", "amsgrad")
    assert adam == pytest.approx({rate: 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False})
    rmsprop = shown(optimizers.RMSprop(), rate, "rho", "momentum", "epsilon", "centered")
    assert rmsprop == pytest.approx({rate: 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False})
    normalization = shown(layers.BatchNormalization(), "axis", "momentum", "epsilon", "center", "scale")
    assert normalization == {"axis": -1, "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True}
    assert layers.LeakyReLU().negative_slope == pytest.approx(0.3)
    assert layers.Conv2D(1, 3).padding == "valid" and layers.MaxPooling2D().strides == (2, 2)


@pytest.mark.parametrize(
    ("units", "loss", "y", "expected"),
    [
        (1, "binary_crossentropy", [[1], [1]], 0.5),  # outputs above 0.5 are 1
        (3, "categorical_crossentropy", [[0, 0, 1], [1, 0, 0]], 1.0),
        (3, "sparse_categorical_crossentropy", [2, 0], 1.0),
    ],
)
def test_accuracy_is_that_of_the_loss_and_the_output(units: int, loss: str, y: Any, expected: float) -> None:
    model = Sequential([layers.Input((units,)), layers.Activation("linear")])
    model.compile("sgd", loss, ["accuracy"])
    x = np.array([[0.4], [0.7]] if units == 1 else [[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])
    assert model.evaluate(x, np.array(y), verbose=0, return_dict=True)["accuracy"] == expected


def _standing(loss: str = "mse") -> Sequential:
    """Return y = x, which no step changes."""
    model = linear()
    model.compile(optimizers.SGD(0.0), loss)
    return model


def test_the_last_batch_counts_by_its_samples() -> None:
    """Squared errors of 1, 4 and 9 in batches of two have a mean of 14/3, not that of 5/2 and 9."""
    model, zeros = _standing(), column(0, 0, 0)
    assert model.fit(column(1, 2, 3), zeros, batch_size=2, verbose=0).history["loss"] == pytest.approx([14 / 3])
    assert model.evaluate(column(1, 2, 3), zeros, batch_size=2, verbose=0) == pytest.approx(14 / 3)


def test_validation_split_takes_the_last_samples_before_any_are_shuffled() -> None:
    x = column(*range(10))
    history = _standing().fit(x, 0 * x, epochs=2, validation_split=0.2, shuffle=True, verbose=0).history
    assert history["val_loss"] == pytest.approx([(64 + 81) / 2] * 2)
    assert history["loss"] == pytest.approx([sum(i * i for i in range(8)) / 8] * 2)


def test_trainable_may_change_after_compile(device: Device) -> None:
    first, last = layers.Dense(3), layers.Dense(1)
    model = Sequential([layers.Input((2,)), first, last])
    model.compile("adam", "mse")
    x = checks.normal(8, 2)
    for trainable in (True, False, True):
        first.trainable = trainable
        before = [layer.get_weights()[0] for layer in (first, last)]
        model.fit(x, x[:, :1], epochs=2, verbose=0)
        after = [layer.get_weights()[0] for layer in (first, last)]
        assert [bool((a != b).any()) for a, b in zip(before, after, strict=True)] == [trainable, True]


def test_dense_works_on_the_last_axis(device: Device) -> None:
    """An input of three dimensions is not flattened: each of its rows has the same weights."""
    layer = layers.Dense(3, input_shape=(5, 4))
    model = Sequential([layer])
    assert model.output_shape == (None, 5, 3) and layer.kernel.shape == (4, 3)
    x = checks.normal(2, 5, 4)
    kernel = layer.get_weights()[0]
    np.testing.assert_allclose(model.predict(x, verbose=0), x @ kernel, rtol=1e-5, atol=1e-6)
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(x, np.zeros((2, 5, 3)), verbose=0).history["loss"]).all()


def test_dropout_drops_in_training_alone(device: Device) -> None:
    model = Sequential([layers.Input((50,)), layers.Dropout(0.5)])
    model.compile("sgd", "mae")
    x = np.ones((4, 50), np.float32)
    checks.assert_same_bits(model.predict(x, verbose=0), x)
    assert model.evaluate(x, x, verbose=0) == 0 == model.test_on_batch(x, x)
    placed = checks.on(device, x)
    checks.assert_same_bits(checks.host(model(placed)), x)
    assert set(np.unique(checks.host(model(placed, training=True)))) == {0, 2}
    assert model.fit(x, x, verbose=0).history["loss"] == [1]


def test_a_call_gives_what_predict_gives_but_where_the_data_lie(device: Device) -> None:
    inputs = layers.Input((3,))
    model = Model(inputs, layers.Dense(2, activation="softmax")(layers.BatchNormalization()(inputs)))
    x = checks.normal(5, 3)
    called = model(checks.on(device, x))
    assert str(gpunet.backend.arrays.device_of(called)) == str(device)
    predicted = model.predict(x, batch_size=2, verbose=0)
    assert isinstance(predicted, np.ndarray)
    np.testing.assert_allclose(checks.host(called), predicted, rtol=1e-6)
    checks.assert_same_bits(checks.host(called), model.predict(x, verbose=0))


def test_statistics_that_a_normalization_has_learned_can_be_read(device: Device) -> None:
    """Tutorials print `mean` and take it for samples: it broadcasts to them."""
    layer = layers.Normalization(axis=-1)
    layer.adapt(np.array([[0.0, 7.0], [2.0, 11.0]]))
    np.testing.assert_array_equal(checks.host(layer.mean), [[1, 9]])
    np.testing.assert_array_equal(checks.host(layer.variance), [[1, 4]])
    given = layers.Normalization(axis=-1, mean=3.0, variance=4.0)
    given.build((None, 5, 2))
    np.testing.assert_array_equal(checks.host(given.mean), np.full((1, 1, 2), 3))


# Weights for a second model of the same code


def _numbered(units: tuple[int, ...] = (4, 4, 3)) -> Model:
    """Return a model whose layers have automatic names."""
    inputs = layers.Input((4,))
    x = layers.BatchNormalization()(Sequential([layers.Dense(units[0]), layers.Dense(units[1])])(inputs))
    return Model(inputs, layers.Dense(units[2], name="last")(x))


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "old"])
@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
def test_weights_of_one_model_fit_the_next_of_the_same_code(ordered: bool, whole: bool, tmp_path: Path) -> None:
    for _ in range(9):
        layers.Dense(1)  # so that the next ones have numbers of one and of two digits
    path, saved = tmp_path / "file", _numbered()
    saved.set_weights([checks.normal(*weight.shape, seed=n) for n, weight in enumerate(saved.weights)])
    (saved.save if whole else saved.save_weights)(path)
    if not ordered:
        form = model_file.MODEL if whole else model_file.WEIGHTS
        description, arrays = container.read("", path, form)
        del description["order"]
        container.write(path, form, {k: v for k, v in description.items() if not k.endswith("_version")}, arrays)
    second = _numbered()
    assert not {layer.name for layer in saved.layers[1:3]} & {layer.name for layer in second.layers}
    second.load_weights(path)
    for a, b in zip(second.get_weights(), saved.get_weights(), strict=True):
        checks.assert_same_bits(a, b)


def test_the_order_of_the_weights_counts_more_than_that_of_the_numbers(tmp_path: Path) -> None:
    first, second = layers.Dense(2), layers.Dense(2)
    Sequential([layers.Input((2,)), second, first]).save_weights(tmp_path / "file")
    other = Sequential([layers.Input((2,)), layers.Dense(2), layers.Dense(2)])
    other.load_weights(tmp_path / "file")
    checks.assert_same_bits(other.get_weights()[0], second.get_weights()[0])
    checks.assert_same_bits(other.get_weights()[2], first.get_weights()[0])


def test_weights_of_other_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    _numbered().save_weights(path)
    model = _numbered((4, 5, 3))
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"dense_\d+/kernel must be float32 of shape \(4, 5\); got .* \(4, 4\)"):
        model.load_weights(path)
    for a, b in zip(model.get_weights(), before, strict=True):
        checks.assert_same_bits(a, b)
    for name in ("dense_other", "hidden_1"):
        named = Sequential([layers.Input((4,)), layers.Dense(4, name=name)])
        Sequential([layers.Input((4,)), layers.Dense(4, name="hidden_2")]).save_weights(path)
        with pytest.raises(ValueError, match=rf"the weights must be those of the architecture; {name}/bias"):
            named.load_weights(path)


@pytest.mark.parametrize("order", [3, ["a"], [["hidden/bias"], "hidden/kernel"], ["hidden/bias"] * 2])
def test_an_order_of_something_else_is_damage(order: Any, tmp_path: Path) -> None:
    model = Sequential([layers.Input((4,)), layers.Dense(4, name="hidden")])
    container.write(tmp_path / "file", model_file.WEIGHTS, {"order": order}, weights_of(model))
    with pytest.raises(ValueError, match=r"file: the file is damaged: order must have the name of each weight once"):
        model.load_weights(tmp_path / "file")
