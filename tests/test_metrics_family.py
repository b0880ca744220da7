"""Metrics beyond accuracy: names, weights, states, and what they do while a model is trained."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import identifiers, metrics
from gpunet.backend.arrays import CPU, Device, HostArray

# One metric of each way of counting, with arguments.
KINDS: dict[str, metrics.Metric] = {
    "values": metrics.MeanAbsoluteError(),
    "thresholds": metrics.Precision(thresholds=[0.2, 0.7]),
    "curve": metrics.AUC(num_thresholds=20, multi_label=True),
    "scores": metrics.F1Score(average="macro"),
    "columns": metrics.R2Score(),
    "classes": metrics.OneHotMeanIoU(num_classes=3),
    "matches": metrics.TopKCategoricalAccuracy(k=2),
}


def _fresh(kind: str) -> metrics.Metric:
    return metrics.deserialize(metrics.serialize(KINDS[kind]))


def _batch(seed: int, n: int = 6) -> tuple[HostArray, HostArray]:
    rng = np.random.default_rng(seed)
    return np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)], rng.random((n, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_kept_reset_and_not_read(device: Device, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches in two metrics, the second of which goes on from the state of the first."""
    whole, first, second = (_fresh(kind) for _ in range(3))
    with monkeypatch.context() as patch:
        if device != CPU:
            patch.setattr(type(checks.on(device, np.ones(1))), "get", None)
        for seed in (1, 2):
            weights = np.float32([1, 0.5, 2, 0, 1, 3])
            whole.update_state(*checks.on(device, *_batch(seed), weights))
    first.update_state(*checks.on(device, *_batch(1), weights))
    of_first = first.result()
    second.set_state(first.get_state(), device)
    second.update_state(*checks.on(device, *_batch(2), weights))
    np.testing.assert_array_equal(whole.result(), second.result())
    assert np.any(whole.result() != of_first)
    whole.reset_state()
    np.testing.assert_array_equal(whole(*checks.on(device, *_batch(1), weights)), of_first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_without_weight_is_not_there(kind: str) -> None:
    y_true, y_pred = _batch(3)
    one, other = _fresh(kind), _fresh(kind)
    one.update_state(y_true, y_pred, np.float32([1, 1, 0, 1, 1, 0]))
    kept = [0, 1, 3, 4]
    other.update_state(y_true[kept], y_pred[kept])
    np.testing.assert_allclose(one.result(), other.result(), rtol=1e-12)


def test_shapes_of_weights(device: Device) -> None:
    """A number weighs the mean of the batch, (1,) every sample, and axes of size 1 may lie behind; as in Keras."""
    values = checks.on(device, np.float32([[1, 2], [3, 6], [0, 0]]))
    for weights, expected in (
        (np.float32([1, 3, 0]), (1.5 + 3 * 4.5) / 4),
        (np.float32([[1], [3], [0]]), (1.5 + 3 * 4.5) / 4),
        (np.float32([[1, 0], [0, 3], [0, 0]]), (1 + 3 * 6) / 4),
        (np.float32([2]), 2.0),
        (5.0, 2.0),
    ):
        metric = metrics.Mean()
        metric.update_state(values, weights)
        assert metric.result() == pytest.approx(expected, rel=1e-12)
    metric.update_state(checks.on(device, np.float32([8])))  # after one batch of weight 5
    assert metric.result() == pytest.approx((5 * 2 + 8) / 6, rel=1e-12)


def test_names() -> None:
    for name, expected in {
        "mse": metrics.MeanSquaredError,
        "MAE": metrics.MeanAbsoluteError,
        "AUC": metrics.AUC,
        "auc": metrics.AUC,
        "RootMeanSquaredError": metrics.RootMeanSquaredError,
        "bce": metrics.BinaryCrossentropy,
        "precision": metrics.Precision,
    }.items():
        metric = metrics.get(name)
        assert type(metric) is expected and metric.name == name
    assert type(metrics.get(metrics.mean_absolute_error)) is metrics.MeanAbsoluteError
    assert metrics.LogCoshError().name == "logcosh" and metrics.FBetaScore().name == "fbeta_score"
    assert metrics.MeanSquaredError.better == "min" and metrics.AUC.better == "max"


def test_a_function_is_a_metric(device: Device) -> None:
    def miss(y_true: Any, y_pred: Any) -> Any:
        return abs(y_pred - y_true)

    metric = metrics.get(miss)
    assert isinstance(metric, metrics.MeanMetricWrapper) and metric.name == "miss"
    metric.update_state(*checks.on(device, np.float32([[1, 2]]), np.float32([[2, 4]])))
    assert metric.result() == 1.5
    with identifiers.custom_object_scope({"miss": miss}):
        again = metrics.deserialize(metrics.serialize(metric))
    assert again(np.float32([[1.0]]), np.float32([[4.0]])) == 3


def test_while_a_model_is_trained(device: Device) -> None:
    """After one epoch without learning the logs are the metrics of the predictions, weighted where that was asked."""
    with gpunet.device(device):
        model = gpunet.Sequential([gpunet.Input((4,)), gpunet.Dense(3, activation="softmax")])
        watched = [
            "mae",
            metrics.AUC(name="area"),
            metrics.Precision(0.3, name="right"),
            metrics.OneHotMeanIoU(3, "iou"),
        ]
        model.compile(gpunet.optimizers.SGD(0.0), "categorical_crossentropy", metrics=watched, weighted_metrics=["mse"])
        x, (y, _) = checks.normal(12, 4), _batch(4, 12)
        weights = np.linspace(0, 2, 12, dtype=np.float32)
        logs = model.fit(x, y, 4, 1, sample_weight=weights, verbose=0, shuffle=False).history
        y_pred = model.predict(x, verbose=0)
    for metric, given in (
        (metrics.get("mae"), None),
        (watched[1], None),
        (watched[2], None),
        (watched[3], None),
        (metrics.get("mse"), weights),
    ):
        assert isinstance(metric, metrics.Metric)
        metric = metrics.deserialize(metrics.serialize(metric))
        metric.update_state(y, y_pred, given)
        assert logs[metric.name] == [pytest.approx(metric.result(), rel=1e-5)]


def test_weights_and_classes_that_do_not_fit_are_refused() -> None:
    y_true, y_pred = _batch(5)
    with pytest.raises(ValueError, match=r"recall: sample_weight must have shape \(6, 3\) or lack .*; got \(5,\)"):
        metrics.Recall().update_state(y_true, y_pred, np.ones(5))
    with pytest.raises(ValueError, match=r"recall: y_pred must have a last axis with class_id=3; got shape \(6, 3\)"):
        metrics.Recall(class_id=3).update_state(y_true, y_pred)
    with pytest.raises(ValueError, match=r"precision: y_pred must have at least top_k=4 classes; got 3"):
        metrics.Precision(top_k=4).update_state(y_true, y_pred)
    score = metrics.F1Score()
    score.update_state(y_true, y_pred)
    with pytest.raises(ValueError, match=r"f1_score: y_pred must have as many classes as before, for sums of shape"):
        score.update_state(y_true[:, :2], y_pred[:, :2])
    with pytest.raises(ValueError, match=r"IoU: target_class_ids must be from 0 to 1, and at least one; got \[2\]"):
        metrics.IoU(2, [2])
    with pytest.raises(ValueError, match=r"AUC: num_labels must be None unless multi_label is True; got 3"):
        metrics.AUC(num_labels=3)
    with pytest.raises(ValueError, match=r"Precision: thresholds must be from 0 to 1; got 1.5"):
        metrics.Precision([0.5, 1.5])
    with pytest.warns(UserWarning, match="r2_score: num_regressors must be below 17, one less than there are targets"):
        metrics.R2Score(num_regressors=17)(y_true, y_pred)
