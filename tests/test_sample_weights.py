"""Sample weights and class weights, in losses and metrics; and how samples are set aside and counted."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from small_models import bits, column, linear

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend.arrays import Device, HostArray
from gpunet.backend.random import set_random_seed

X, Y = checks.normal(9, 4), np.arange(9) % 3
W = np.linspace(0.25, 2, 9).astype(np.float32)
SPARSE = "sparse_categorical_crossentropy"


def _model(loss: Any = SPARSE, **arguments: Any) -> Sequential:
    set_random_seed(4)
    model = Sequential([Input((4,)), Dense(3, activation="softmax", name="only")])
    model.compile(gpunet.optimizers.SGD(0.1), loss, **arguments)
    return model


def test_a_loss_counts_each_sample_by_its_weight(device: Device) -> None:
    model = linear()  # y = x, so that errors are x - y
    x, y, w = column(1, 2), column(0, 0), np.array([3.0, 0.5])
    # losses 1 and 4, slopes 2 and 8: the value is (3 + 2) / 2, the gradient (3 * 2 + 0.5 * 8) / 2
    assert model.train_on_batch(x, y, w) == 2.5
    assert float(model.get_weights()[0][0, 0]) == 1 - 0.5 * 5
    by_weight = linear(gpunet.losses.MeanSquaredError(reduction="mean_with_sample_weight"))
    assert by_weight.test_on_batch(x, y, w[:, None]) == pytest.approx(5 / 3.5)


def test_the_last_incomplete_batch_counts_by_its_samples_not_their_weights() -> None:
    losses = np.array([1.0, 4.0, 9.0])  # of y = x for targets 0
    w = np.array([1.0, 1.0, 10.0])
    batches = [(losses[:2] * w[:2]).mean(), (losses[2:] * w[2:]).mean()]
    expected = (2 * batches[0] + 1 * batches[1]) / 3
    assert linear().evaluate(column(1, 2, 3), column(0, 0, 0), 2, 0, w) == pytest.approx(expected)


def test_validation_split_takes_the_last_samples_with_their_weights() -> None:
    model = linear()
    model.optimizer.learning_rate = 0.0
    w = np.array([1.0, 1.0, 1.0, 1.0, 7.0])
    x, y = column(0, 0, 0, 1, 2), column(0, 0, 0, 0, 0)
    history = model.fit(x, y, sample_weight=w, validation_split=0.4, verbose=0).history
    assert history["loss"] == [0.0] and history["val_loss"] == [(1 * 1 + 4 * 7) / 2]
    with_data = model.fit(x, y, validation_data=(x[3:], y[3:], w[3:]), verbose=0).history
    assert with_data["val_loss"] == history["val_loss"]


@pytest.mark.parametrize("form", ["labels", "column of labels", "one-hot"])
def test_class_weights_are_the_weights_of_the_samples_of_a_class(form: str) -> None:
    one_hot = np.eye(3, dtype=np.float32)[Y]
    targets: HostArray = {"labels": Y, "column of labels": Y[:, None], "one-hot": one_hot}[form]
    loss = "categorical_crossentropy" if form == "one-hot" else SPARSE
    expected, model, streamed = (_model(loss) for _ in range(3))
    expected.fit(X, targets, 4, sample_weight=np.array([0.5, 1, 3])[Y], shuffle=False, verbose=0)
    class_weight = {0: 0.5, 2: 3.0}  # of other classes 1
    model.fit(X, targets, 4, class_weight=class_weight, shuffle=False, verbose=0)
    batches = ((X[start : start + 4], targets[start : start + 4]) for start in range(0, 9, 4))
    streamed.fit(batches, class_weight=class_weight, verbose=0)
    assert bits(model) == bits(expected) == bits(streamed)
    plain = _model(loss)
    plain.fit(X, targets, 4, shuffle=False, verbose=0)
    assert bits(plain) != bits(expected)


def test_class_weights_do_not_count_in_the_validation() -> None:
    model = _model()
    logs = model.fit(X, Y, 9, validation_split=0.34, class_weight={0: 5.0, 2: 0.1}, verbose=0).history
    assert logs["val_loss"] == [pytest.approx(model.evaluate(X[-4:], Y[-4:], verbose=0))]


def test_class_weights_of_binary_targets_and_of_targets_in_a_file(tmp_path: Any) -> None:
    labels = (np.arange(9) % 2).astype(np.float32)
    np.save(tmp_path / "y.npy", labels)
    trained = []
    for y in (labels, np.load(tmp_path / "y.npy", mmap_mode="r")):
        model = Sequential([Input((4,)), Dense(1, activation="sigmoid", kernel_initializer="zeros")])
        model.compile("sgd", "binary_crossentropy")
        logs = model.fit(X, y, 9, class_weight={1: 3}, shuffle=False, verbose=0).history
        trained.append(bits(model))
        assert logs["loss"][0] == pytest.approx(np.log(2) * (5 + 4 * 3) / 9)
    assert trained[0] == trained[1]


def test_weighted_metrics_count_samples_by_their_weights_and_plain_ones_do_not() -> None:
    model = _model(metrics=["accuracy"], weighted_metrics=["accuracy"])
    hits = model.predict(X, verbose=0).argmax(axis=1) == Y
    logs = model.evaluate(X, Y, 4, 0, W, return_dict=True)
    assert logs["accuracy"] == pytest.approx(hits.mean())
    assert logs["weighted_accuracy"] == pytest.approx(hits @ W / W.sum())
    assert 0 < logs["accuracy"] != logs["weighted_accuracy"]
    unweighted = model.evaluate(X, Y, 4, 0, return_dict=True)
    assert unweighted["weighted_accuracy"] == unweighted["accuracy"]


def test_accuracy_has_the_form_that_the_output_and_its_loss_ask_for() -> None:
    x = gpunet.to_host(checks.normal(8, 4))
    for loss, units, y in (
        ("binary_crossentropy", 1, (np.arange(8) % 2)[:, None]),
        (SPARSE, 3, np.arange(8) % 3),
        ("categorical_crossentropy", 3, np.eye(3)[np.arange(8) % 3]),
    ):
        model = Sequential([Input((4,)), Dense(units, activation="sigmoid" if units == 1 else "softmax")])
        model.compile("sgd", loss, metrics=["accuracy"])
        p = model.predict(x, verbose=0)
        hits = (p > 0.5) == y if units == 1 else p.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))
        assert model.evaluate(x, y, 3, verbose=0, return_dict=True)["accuracy"] == pytest.approx(hits.mean())


def test_metrics_in_the_third_place_are_metrics_and_numbers_there_are_weights() -> None:
    assert _model(loss_weights=["accuracy"]).metrics_names == ["loss", "accuracy"]
    whole, half = _model(), _model(loss_weights=[0.5])
    assert half.evaluate(X, Y, verbose=0) == pytest.approx(whole.evaluate(X, Y, verbose=0) / 2)
    assert half.get_compile_config()["loss_weights"] == [0.5]


def test_weights_of_parts_of_a_sample() -> None:
    model = Sequential([Input((2, 4)), Dense(3, activation="softmax")])
    model.compile("sgd", SPARSE, batch_parts=2)
    x, y = checks.normal(5, 2, 4), np.arange(10).reshape(5, 2) % 3
    each = checks.normal(5, 2) ** 2
    p = model.predict(x, verbose=0)
    losses = -np.log(np.take_along_axis(p, y[..., None], axis=-1)[..., 0])
    assert model.test_on_batch(x, y, each) == pytest.approx((losses * each).mean(), rel=1e-5)
    assert model.test_on_batch(x, y, each[:, 0]) == pytest.approx((losses * each[:, :1]).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"sample_weight": W[:4]}, r"fit: x and sample_weight must have as many samples; got 9 in x and 4 in sample_"),
        ({"sample_weight": np.ones((9, 2))}, r"sample_weight must have the shape of the losses, \(9,\).*got \(9, 2\)"),
        ({"sample_weight": np.full(9, np.inf)}, r"sample_weight must be finite"),
        ({"sample_weight": W, "class_weight": {0: 1}}, r"fit: class_weight must be None where samples have weights"),
        ({"class_weight": [1, 2]}, r"fit: class_weight must be a dict from class to weight; got \[1, 2\]"),
        ({"class_weight": {"a": 1}}, r"fit: class_weight must be an integer; got 'a'"),
        ({"sample_weight": {"other": W}}, r"fit: sample_weight must have no names but only; got 'other'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(arguments: dict[str, Any], match: str) -> None:
    model = _model()
    before = bits(model)
    with pytest.raises((ValueError, TypeError), match=match):
        model.fit(X, Y, verbose=0, **arguments)
    assert bits(model) == before
