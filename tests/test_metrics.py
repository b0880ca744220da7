"""Metrics: Keras's accuracies, averaged on the device, and the running mean of the loss."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet import losses, metrics
from gpunet.backend.arrays import CPU, Device, to_device


def test_sparse_categorical_accuracy(device: Device) -> None:
    y_pred = np.float32([[0.1, 0.6, 0.3], [0.05, 0.95, 0], [0.2, 0.3, 0.5]])
    for shape in [(3,), (3, 1)]:
        metric = metrics.SparseCategoricalAccuracy()
        metric.update_state(*checks.on(device, np.int32([2, 1, 2]).reshape(shape), y_pred))
        assert metric.result() == 2 / 3
        metric.update_state(np.array([1, 1, 2]).reshape(shape), checks.on(device, y_pred))
        assert metric.result() == 5 / 6
        metric.reset_state()
        assert metric.result() == 0
        metric.update_state(*checks.on(device, np.int32([1, 1, 2]).reshape(shape), y_pred))
        assert metric.result() == 1


def test_categorical_accuracy(device: Device) -> None:
    y_true = np.float32([[0, 0, 1], [0, 1, 0]])
    y_pred = np.float32([[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    metric = metrics.CategoricalAccuracy()
    metric.update_state(*checks.on(device, y_true, y_pred))
    assert metric.result() == 0.5


@pytest.mark.parametrize("true_shape, pred_shape", [((4,), (4, 1)), ((4, 1), (4, 1)), ((4, 1), (4,)), ((2, 2), (2, 2))])
def test_binary_accuracy(device: Device, true_shape: tuple[int, ...], pred_shape: tuple[int, ...]) -> None:
    y_true = np.float32([1, 1, 0, 0]).reshape(true_shape)
    y_pred = np.float32([0.98, 1, 0, 0.6]).reshape(pred_shape)
    metric, strict = metrics.BinaryAccuracy(), metrics.BinaryAccuracy(threshold=0.99)
    for of_type in (np.float32, np.int32):
        metric.update_state(*checks.on(device, y_true.astype(of_type), y_pred))
        assert metric.result() == 0.75
    strict.update_state(*checks.on(device, y_true, y_pred))
    assert strict.result() == 0.75
    assert metrics.BinaryAccuracy(threshold=0.6).get_config()["threshold"] == 0.6


def test_accuracy(device: Device) -> None:
    metric = metrics.Accuracy()
    metric.update_state(*checks.on(device, np.float32([1, 2, 3, 4]), np.float32([[0], [2], [3], [4]])))
    assert metric.result() == 0.75


def test_every_sample_counts_once_whatever_its_number_of_positions(device: Device) -> None:
    """Keras averages over the positions of a sample first: (1/4 + 2/2) / 2 here, not 3 of 6."""
    metric = metrics.Accuracy()
    metric.update_state(*checks.on(device, np.float32([[1, 0, 0, 0]]), np.ones((1, 4), np.float32)))
    metric.update_state(*checks.on(device, np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)))
    assert metric.result() == (1 / 4 + 1) / 2
    sparse = metrics.SparseCategoricalAccuracy()
    y_pred = np.eye(3, dtype=np.float32)[[[0, 1], [2, 2]]]  # (2, 2, 3)
    sparse.update_state(*checks.on(device, np.int32([[0, 0], [1, 2]]), y_pred))
    assert sparse.result() == 0.5


def test_mean(device: Device) -> None:
    metric = metrics.Mean("loss")
    assert metric.name == "loss" and metric.result() == 0
    metric.update_state(checks.on(device, np.float32([2])), 1)
    metric.update_state(checks.on(device, np.float32([5])), 2)
    assert metric.result() == 4
    metric.reset_state()
    metric.update_state(checks.on(device, np.float64([5])), sample_weight=3)
    assert metric.result() == 5


def test_a_reset_metric_may_go_to_another_device(device: Device) -> None:
    metric = metrics.Mean()
    metric.update_state(np.float32([2]))
    if device != CPU:
        with pytest.raises(TypeError, match="accumulate_values: all arrays must be on one device"):
            metric.update_state(checks.on(device, np.float32([2])))
    metric.reset_state()
    metric.update_state(checks.on(device, np.float32([3])))
    assert metric.result() == 3


def test_nothing_is_read_back(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, updates only launch kernels; `result` reads."""
    y_true, y_pred, value = checks.on(device, np.int32([0, 1]), np.eye(2, dtype=np.float32), np.float32([1]))
    accuracy, mean = metrics.SparseCategoricalAccuracy(), metrics.Mean()

    def forbidden(array: Any) -> Any:
        raise AssertionError("read back")

    with monkeypatch.context() as patch:
        patch.setattr(metrics.base, "to_host", forbidden)
        if device != CPU:
            patch.setattr(type(y_pred), "get", forbidden)
        for _ in range(2):
            accuracy.update_state(y_true, y_pred)
            mean.update_state(value, 2)
            accuracy.reset_state()
    assert mean.result() == 1


def test_lists_are_taken() -> None:
    metric = metrics.BinaryAccuracy()
    metric.update_state([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]])
    assert metric.result() == 0.75
    sparse = metrics.SparseCategoricalAccuracy()
    sparse.update_state([[2.0], [1.0]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
    assert sparse.result() == 0.5


SPARSE, DENSE, MSE = losses.SparseCategoricalCrossentropy(), losses.CategoricalCrossentropy(), losses.MeanSquaredError()


@pytest.mark.parametrize(
    "loss, output_shape, expected",
    [
        (SPARSE, (None, 10), metrics.SparseCategoricalAccuracy),
        (SPARSE, (None, 7, 7, 10), metrics.SparseCategoricalAccuracy),
        (DENSE, (None, 10), metrics.CategoricalAccuracy),
        (MSE, (None, 10), metrics.CategoricalAccuracy),
        (losses.BinaryCrossentropy(), (None, 1), metrics.BinaryAccuracy),
        (losses.BinaryCrossentropy(), (None, 3), metrics.CategoricalAccuracy),
        (MSE, (None, 1), metrics.BinaryAccuracy),
        (None, None, metrics.Accuracy),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy"])
def test_accuracy_is_chosen_by_the_shapes(name: str, loss: Any, output_shape: Any, expected: type) -> None:
    metric = metrics.get(name, loss, output_shape)
    assert type(metric) is expected and metric.name == name


def test_needs_probabilities() -> None:
    assert metrics.BinaryAccuracy.needs_probabilities and metrics.Accuracy.needs_probabilities
    assert not metrics.CategoricalAccuracy.needs_probabilities
    assert not metrics.SparseCategoricalAccuracy.needs_probabilities


def test_get_serialize_and_back() -> None:
    for name, expected in {
        "binary_accuracy": metrics.BinaryAccuracy,
        "CategoricalAccuracy": metrics.CategoricalAccuracy,
        "sparse_categorical_accuracy": metrics.SparseCategoricalAccuracy,
    }.items():
        metric = metrics.get(name)
        assert type(metric) is expected and metric.name == name
    metric = metrics.BinaryAccuracy("mine", threshold=0.25)
    assert metrics.get(metric) is metric
    assert type(metrics.get(metrics.Mean)) is metrics.Mean
    config = metrics.serialize(metric)
    assert config == {
        "class_name": "BinaryAccuracy",
        "config": {"name": "mine", "dtype": "float32", "threshold": 0.25},
    }
    copy = metrics.deserialize(config)
    assert isinstance(copy, metrics.BinaryAccuracy) and copy.get_config() == metric.get_config()
    assert metrics.CategoricalAccuracy.from_config({"name": "c"}).name == "c"


def test_bad_input_is_refused() -> None:
    sparse = metrics.SparseCategoricalAccuracy()
    y_pred = np.ones((2, 3), np.float32)
    expected = r"y_true must have shape \(2,\) or \(2, 1\) for outputs of shape \(2, 3\); got \(3,\)"
    with pytest.raises(ValueError, match="sparse_categorical_accuracy: " + expected):
        sparse.update_state([0, 1, 2], y_pred)
    with pytest.raises(ValueError, match="sparse_categorical_accuracy: y_true must hold whole numbers below"):
        sparse.update_state([0, 1.5], y_pred)
    with pytest.raises(ValueError, match="sparse_categorical_accuracy: y_true must hold whole numbers below"):
        sparse.update_state(np.array([0, np.nan]), y_pred)
    with pytest.raises(
        TypeError, match="sparse_categorical_accuracy: y_true must hold real numbers; got an array of <U1"
    ):
        sparse.update_state(["a", "b"], y_pred)
    with pytest.raises(ValueError, match=r"categorical_accuracy: y_true must have shape \(2, 3\) for outputs"):
        metrics.CategoricalAccuracy().update_state([0, 1], y_pred)
    with pytest.raises(
        ValueError, match=r"binary_accuracy: y_true must have shape \(2, 3\) for outputs .*; got \(2, 2\)"
    ):
        metrics.BinaryAccuracy().update_state([[0, 1], [0, 1]], y_pred)
    with pytest.raises(ValueError, match=r"accuracy: y_pred must have an axis and an element; got shape \(0,\)"):
        metrics.Accuracy().update_state([], [])
    with pytest.raises(ValueError, match=r"mean: sample_weight must have shape \(2,\) or lack .*; got \(3,\)"):
        metrics.Mean().update_state([1, 2], [1, 2, 3])
    with pytest.raises(TypeError, match="mean: sample_weight must hold real numbers; got an array of <U1"):
        metrics.Mean().update_state(1.0, "a")
    with pytest.raises(ValueError, match="BinaryAccuracy: threshold must be finite; got nan"):
        metrics.BinaryAccuracy(threshold=np.nan)
    with pytest.raises(
        ValueError, match=r"identifier must be one of 'BCE', .*'acc', 'accuracy', 'auc', .*; got 'area'"
    ):
        metrics.get("area")
    with pytest.raises(TypeError, match="identifier must be a name or a Metric; got 3"):
        metrics.get(3)


def test_labels_of_another_device_type_are_refused(device: Device) -> None:
    y_pred = checks.on(device, np.ones((2, 3), np.float32))
    if device != CPU:
        with pytest.raises(TypeError, match="sparse_matches: labels must be int32; got int64"):
            metrics.SparseCategoricalAccuracy().update_state(to_device(np.array([0, 1]), device), y_pred)


def test_an_own_metric_is_a_subclass(device: Device) -> None:
    class Largest(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.largest = 0.0

        def update_state(self, y_true: Any, y_pred: Any) -> None:
            self.largest = max(self.largest, float(checks.host(y_pred).max()))

        def result(self) -> float:
            return self.largest

        def reset_state(self) -> None:
            self.largest = 0.0

    metric = metrics.get(Largest)
    metric.update_state(None, checks.on(device, np.float32([1, 4])))
    assert metric.name == "largest" and metric.result() == 4
    with pytest.raises(NotImplementedError, match="Metric: update_state must be defined"):
        metrics.Metric().update_state(0, 0)


def test_samples_of_many_blocks_count(device: Device) -> None:
    y, p = np.arange(300) % 3, checks.normal(300, 3)
    metric = metrics.SparseCategoricalAccuracy()
    for _ in range(2):
        metric.update_state(*checks.on(device, y.astype(np.int32), p))
    assert metric.result() == pytest.approx((p.argmax(axis=1) == y).mean())
