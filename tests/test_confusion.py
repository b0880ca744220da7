"""Counts by thresholds and classes (kernels confusion.cu), what outputs predict (prediction.cu), residuals.cu."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_metrics
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.ops import accumulation, accuracy, prediction, residuals
from gpunet.ops.confusion import Levels, confusion_counts, confusion_matrix, counts_shape


def _counts(device: Device, y: HostArray, t: HostArray, levels: Levels, **given: Any) -> HostArray:
    """Return (classes, levels, 4) that one call adds to a state that is not empty."""
    classes = y.shape[1] if given.get("column") is None else 1
    state = checks.on(device, np.ones(counts_shape(levels.number, classes)))
    confusion_counts(*checks.on(device, y, t), levels, state, **given)
    counts: HostArray = (checks.host(state) - 1).sum(axis=0)
    return counts


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_in_any_order(device: Device, dtype: type) -> None:
    """Outputs that equal a threshold are not above it; a NaN is above none. Without weights all counts are exact."""
    rng = np.random.default_rng(0)
    y, t = (rng.integers(0, 9, (300, 3)) / 8).astype(dtype), rng.integers(0, 2, (300, 3)).astype(dtype)
    y[5, 1] = np.nan
    thresholds = np.array([0.5, 0.125, 0.9], dtype)
    levels = Levels(3, checks.on(device, thresholds))
    expected = oracle_metrics.confusion_counts(y, t, thresholds, np.ones(y.shape))
    np.testing.assert_array_equal(_counts(device, y, t, levels), expected)
    np.testing.assert_array_equal(_counts(device, y, t, levels, column=2), expected[2:])
    w, of_labels = rng.random(300).astype(dtype), rng.random(3).astype(dtype)
    both = {"weights": checks.on(device, w), "label_weights": checks.on(device, of_labels)}
    expected = oracle_metrics.confusion_counts(y, t, thresholds, w[:, None].astype(np.float64) * of_labels)
    np.testing.assert_allclose(_counts(device, y, t, levels, **both), expected, rtol=1e-12)


@pytest.mark.parametrize("least", [-1, 0])
def test_even_thresholds(device: Device, least: int) -> None:
    """Sixteenths lie exactly on them; outputs outside 0 ... 1 and NaN count as the ends, 0 above the first or not."""
    rng = np.random.default_rng(1)
    y, t = rng.integers(-2, 19, (200, 1)).astype(np.float32) / 16, rng.integers(0, 2, (200, 1)).astype(np.float32)
    thresholds = np.arange(17) / 16
    if least == 0:
        thresholds[0] = -0.1
    expected = oracle_metrics.confusion_counts(np.clip(y, 0, 1), t, thresholds, np.ones(y.shape))
    np.testing.assert_array_equal(_counts(device, y, t, Levels(17, None, least)), expected)
    y[:] = np.nan
    expected = oracle_metrics.confusion_counts(np.zeros_like(y), t, thresholds, np.ones(y.shape))
    np.testing.assert_array_equal(_counts(device, y, t, Levels(17, None, least)), expected)


def test_soft_targets_count_by_degrees(device: Device) -> None:
    y, t = np.float32([[0.9], [0.2]]), np.float32([[0.75], [0.25]])
    levels = Levels(1, checks.on(device, np.float32([0.5])))
    np.testing.assert_array_equal(_counts(device, y, t, levels, soft=True), [[[0.75, 0.25, 0.75, 0.25]]])
    np.testing.assert_array_equal(_counts(device, y, t, levels), [[[1, 0, 0, 1]]])


def test_confusion_matrix(device: Device) -> None:
    """Labels outside the classes count nowhere, and weights may lose their fractions."""
    rng = np.random.default_rng(2)
    truth, predicted = (rng.integers(-1, 5, 700).astype(np.int32) for _ in "tp")
    w = (rng.random(350) * 3).astype(np.float32)
    for ignored, whole in ((None, False), (2, False), (None, True)):
        state = checks.on(device, np.ones((4, 4)))
        both = {"ignored": ignored, "whole": whole}
        confusion_matrix(*checks.on(device, truth, predicted), state, weights=checks.on(device, w), **both)
        each = (np.floor(w) if whole else w).astype(np.float64).repeat(2)
        expected = 1 + oracle_metrics.confusion_matrix(truth, predicted, 4, each, ignored)
        np.testing.assert_allclose(checks.host(state), expected, rtol=1e-12)
    state = checks.on(device, np.zeros((4, 4)))
    confusion_matrix(*checks.on(device, truth, predicted), state)
    np.testing.assert_array_equal(
        checks.host(state), oracle_metrics.confusion_matrix(truth, predicted, 4, np.ones(700))
    )


@pytest.mark.parametrize("shape", [(1, 1), (5, 31), (130, 33)])
def test_what_is_predicted(device: Device, shape: tuple[int, int]) -> None:
    """Few different values, so that most rows have ties."""
    y = np.random.default_rng(3).integers(-1, 4, shape).astype(np.float32) / 2
    placed = checks.on(device, y)
    np.testing.assert_array_equal(checks.host(prediction.argmax_classes(placed)), y.argmax(axis=1))
    np.testing.assert_array_equal(checks.host(prediction.threshold_classes(placed, 0.5)), y >= 0.5)
    marks = (y == y.max(axis=1, keepdims=True)) & (y != 0)
    checks.assert_same_bits(prediction.mark_maxima(placed), marks.astype(np.float32))
    for k in (1, 3, 40):
        checks.assert_same_bits(prediction.keep_largest(placed, k), oracle_metrics.keep_largest(y, k))


def test_a_maximum_near_0_is_not_marked(device: Device) -> None:
    y = np.float32([[-1, 0], [-3, -2], [5e-10, -1], [2e-9, 0]])
    marks = prediction.mark_maxima(checks.on(device, y))
    checks.assert_same_bits(marks, np.float32([[0, 0], [0, 1], [0, 0], [1, 0]]))


def test_of_the_largest_a_nan_comes_last(device: Device) -> None:
    y = np.float32([[np.nan, 1, np.nan, 2]])
    kept = checks.host(prediction.keep_largest(checks.on(device, y), 3))
    np.testing.assert_array_equal(kept, np.float32([[np.nan, 1, -1e10, 2]]))


def test_matches_among_the_largest_and_weights(device: Device) -> None:
    rng = np.random.default_rng(4)
    y, labels = rng.integers(0, 5, (90, 40)).astype(np.float32), rng.integers(0, 40, 90).astype(np.int32)
    w = rng.random(30).astype(np.float32)
    each = w.astype(np.float64).repeat(3)
    matches = oracle_metrics.among_largest(y, labels, 9)
    assert 0 < matches.sum() < 90
    targets = np.eye(40, dtype=np.float32)[labels]
    ids = rng.permuted(np.tile(np.arange(40, dtype=np.float32), (90, 1)), axis=1)
    found = (ids[:, :9] == labels[:, None]).any(axis=1)
    placed, weights = checks.on(device, y), checks.on(device, w)
    for op, other, first, expected in (
        (accuracy.sparse_matches, labels, placed, matches),
        (accuracy.dense_matches, targets, placed, matches),
        (accuracy.sorted_matches, labels.astype(np.float32), checks.on(device, ids), found),
    ):
        state = checks.on(device, np.zeros((accuracy.BLOCKS, 2)))
        op(first, checks.on(device, other), state, positions=2, weights=weights, k=9)
        wanted = [(each * expected).sum() / 2, each.sum() / 2]
        np.testing.assert_allclose(checks.host(state).sum(axis=0), wanted, rtol=1e-12)
    none = checks.on(device, np.zeros((accuracy.BLOCKS, 2)))
    accuracy.sparse_matches(placed, checks.on(device, np.full(90, 40, np.int32)), none, k=40)
    assert checks.host(none).sum(axis=0).tolist() == [0, 90]


@pytest.mark.parametrize("parts", [1, 64])
def test_weighted_values(device: Device, parts: int) -> None:
    rng = np.random.default_rng(5)
    values, w = rng.standard_normal(600).astype(np.float32), rng.random(200).astype(np.float32)
    state = checks.on(device, np.zeros((parts, 2)))
    accumulation.accumulate_values(checks.on(device, values), state, 3, checks.on(device, w))
    accumulation.accumulate_values(checks.on(device, values), state)
    each = w.astype(np.float64).repeat(3)
    wanted = [(each * values).sum() / 3 + values.astype(np.float64).sum(), each.sum() / 3 + 600]
    np.testing.assert_allclose(checks.host(state).sum(axis=0), wanted, rtol=1e-12)


def test_residual_sums(device: Device) -> None:
    rng = np.random.default_rng(6)
    y, t, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((300, 3), (300, 3), (300,)))
    state = checks.on(device, np.ones((3, residuals.SUMS)))
    residuals.residual_sums(*checks.on(device, y, t), state, checks.on(device, w))
    expected = 1 + oracle_metrics.residual_sums(*(one.astype(np.float64) for one in (y, t, w)))
    np.testing.assert_allclose(checks.host(state), expected, rtol=1e-10)


def test_bad_input_is_refused(device: Device) -> None:
    y = checks.on(device, np.ones((4, 2), np.float32))
    levels = Levels(1, checks.on(device, np.float32([0.5])))
    with pytest.raises(ValueError, match=r"confusion_counts: state must have shape \(32, 2, 1, 4\); got \(2, 1, 4\)"):
        confusion_counts(y, y, levels, checks.on(device, np.zeros((2, 1, 4))))
    with pytest.raises(ValueError, match="confusion_counts: weights must be as many as 8 rows can be shared among"):
        state = checks.on(device, np.zeros(counts_shape(1, 2)))
        confusion_counts(y, y, levels, state, weights=checks.on(device, np.ones(3, np.float32)))
    labels = checks.on(device, np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="confusion_matrix: prediction must be int32; got float32"):
        confusion_matrix(labels, checks.on(device, np.zeros(3, np.float32)), checks.on(device, np.zeros((2, 2))))
    with pytest.raises(ValueError, match=r"residual_sums: state must have shape \(2, 5\); got \(5, 2\)"):
        residuals.residual_sums(y, y, checks.on(device, np.zeros((5, 2))))
    with pytest.raises(ValueError, match=r"keep_largest: y must have 2 axes, \(N, C\); got shape \(3,\)"):
        prediction.keep_largest(checks.on(device, np.ones(3, np.float32)), 1)
