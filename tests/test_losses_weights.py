"""Sample weights of every loss: shapes, reductions, gradients, parts of batches, and how many kernels they take."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet import losses
from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.losses import Loss

WIDE = np.float64
SHAPE = (3, 2, 4)
REDUCTIONS = ("sum_over_batch_size", "mean_with_sample_weight", "sum")
ALL: list[Loss] = [
    losses.MeanSquaredError(),
    losses.MeanAbsoluteError(),
    losses.MeanAbsolutePercentageError(),
    losses.MeanSquaredLogarithmicError(),
    losses.Huber(0.3),
    losses.LogCosh(),
    losses.Poisson(),
    losses.KLDivergence(),
    losses.Hinge(),
    losses.SquaredHinge(),
    losses.CategoricalHinge(),
    losses.CosineSimilarity(axis=0),
    losses.Dice(axis=(1, 2)),
    losses.Tversky(0.3, 0.9, axis=-1),
    losses.BinaryCrossentropy(axis=1),
    losses.BinaryCrossentropy(from_logits=True),
    losses.BinaryFocalCrossentropy(apply_class_balancing=True),
    losses.CategoricalCrossentropy(axis=1),
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.CategoricalFocalCrossentropy([0.1, 0.2, 0.3, 0.4]),
    losses.SparseCategoricalCrossentropy(),
    losses.SparseCategoricalCrossentropy(from_logits=True),
    losses.SparseCategoricalCrossentropy(from_logits=True, axis=1),
    losses.CategoricalGeneralizedCrossEntropy(0.6),
]
each_loss = pytest.mark.parametrize("loss", ALL, ids=lambda loss: f"{loss.name}-{getattr(loss, 'axis', '')}")


def _case(loss: Loss) -> tuple[HostArray, HostArray]:
    """Return targets and outputs, from 0.05 to 0.95, where no loss has a kink."""
    rng = np.random.default_rng(0)
    y_pred = 0.05 + 0.9 * rng.random(SHAPE)
    if not loss.sparse_targets:
        return rng.random(SHAPE), y_pred
    axis = getattr(loss, "axis", -1)
    return rng.integers(0, SHAPE[axis], np.delete(SHAPE, axis)), y_pred


def _with(loss: Loss, reduction: str | None) -> Loss:
    return type(loss).from_config(loss.get_config() | {"reduction": reduction})


@each_loss
def test_values_and_gradients(device: Device, loss: Loss) -> None:
    """The value is the weighted sum of the losses over its count, the gradient that of differences."""
    y_true, y_pred = _case(loss)
    each = checks.host(_with(loss, None)(y_true, y_pred))
    for kept, reduction in zip((1, each.ndim, 1), REDUCTIONS, strict=True):
        w = 0.1 + np.random.default_rng(1).random(each.shape[:kept])
        wide = w.reshape(w.shape + (1,) * (each.ndim - kept))
        count = {"sum": 1, "mean_with_sample_weight": w.sum(), "sum_over_batch_size": each.size}[reduction]
        reduced = _with(loss, reduction)
        assert reduced(y_true, checks.on(device, y_pred), w) == pytest.approx((each * wide).sum() / count, rel=1e-12)
        targets = checks.on(device, loss.prepare_targets(y_true, SHAPE, WIDE))
        weights = checks.on(device, loss.prepare_weights(w, SHAPE, WIDE))

        def value(y: HostArray, reduced: Loss = reduced, targets: Any = targets, weights: Any = weights) -> HostArray:
            total, _ = reduced.forward(targets, checks.on(device, y), None, weights)
            return checks.host(total)

        assert value(y_pred) == pytest.approx((each * wide).sum() / count, rel=1e-12)
        _, backward = reduced.forward(targets, checks.on(device, y_pred), None, weights)
        checks.assert_gradient(value, y_pred, backward(), directions=1, elements=2)
    each_weighted = _with(loss, None)(y_true, checks.on(device, y_pred), w)
    checks.assert_close_in_double(each_weighted, each * wide)


@pytest.mark.parametrize("reduction", [*REDUCTIONS, None])
def test_a_loss_of_the_whole_batch_takes_a_weight_a_sample(device: Device, reduction: str | None) -> None:
    y_true, y_pred = np.float64([[1, 0], [0, 1]]), checks.on(device, np.array([[0.9, 0.2], [0.4, 0.3]]))
    one, w = losses.Dice(reduction="sum")(y_true, y_pred), np.array([3.0, 0.5])
    value = losses.Dice(reduction=reduction)(y_true, y_pred, w)
    if reduction is None:
        checks.assert_close_in_double(value, one * w)
        return
    count = {"sum": 1, "mean_with_sample_weight": 3.5, "sum_over_batch_size": 2}[reduction]
    assert value == pytest.approx(one * 3.5 / count)


def test_ignored_positions_do_not_count_with_weights(device: Device) -> None:
    y_pred, y_true = checks.on(device, checks.normal(2, 3, 4, dtype=WIDE)), np.array([[0, 255, 3], [255, 255, 1]])
    w = np.array([[1.0, 9.0, 2.0], [9.0, 9.0, 4.0]])
    each = losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True, ignore_class=255)
    total = (checks.host(each) * w).sum()
    for reduction, count in (("sum", 1), ("sum_over_batch_size", 3), ("mean_with_sample_weight", 7)):
        loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255, reduction=reduction)
        assert loss(y_true, y_pred, w) == pytest.approx(total / count)


@pytest.mark.parametrize("from_logits", [True, False])
def test_weights_take_no_launch_more(device: Device, from_logits: bool) -> None:
    if device == CPU:
        pytest.skip("no kernels on the CPU")
    for loss, y_true in (
        (losses.SparseCategoricalCrossentropy(from_logits), np.int32([0, 1, 2])),
        (losses.CategoricalCrossentropy(from_logits), np.eye(3, dtype=np.float32)),
        (losses.MeanSquaredError(), np.eye(3, dtype=np.float32)),
    ):
        launched = []
        targets, y_pred, w = checks.on(device, y_true, abs(checks.normal(3, 3)), np.ones(3, np.float32))
        for weights in (None, w):
            with checks.recorded_launches() as launches:
                _, backward = loss.forward(targets, y_pred, None, weights)
                backward()
            launched.append([launch.entry for launch in launches])
        assert launched[0] == launched[1]
        assert not (from_logits and loss.name != "mean_squared_error") or len(launched[0]) == 1


PARTS = [
    losses.MeanSquaredError(),
    losses.CategoricalCrossentropy(from_logits=True),
    losses.SparseCategoricalCrossentropy(),
    losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
]


@pytest.mark.parametrize("loss", PARTS, ids=lambda loss: f"{loss.name}-{getattr(loss, 'ignore_class', '')}")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_loss_of_a_batch_comes_of_its_parts(device: Device, loss: Loss, reduction: str) -> None:
    rng, loss = np.random.default_rng(0), _with(loss, reduction)
    y_true = rng.integers(0, 3, 6) if loss.sparse_targets else rng.random((6, 3))
    targets = checks.on(device, loss.prepare_targets(y_true, (6, 3), WIDE))
    y_pred, w = checks.on(device, 0.1 + rng.random((6, 3)), rng.random(6))
    whole = checks.host(loss.forward(targets, y_pred, None, w)[0])
    over, rows = loss.over_parts(targets, WIDE, w), [slice(0, 2), slice(2, 6)]
    part_loss, factor = (loss, None) if over is None else over
    values = [checks.host(part_loss.forward(targets[r], y_pred[r], None, w[r])[0]) for r in rows]
    if factor is None:
        np.testing.assert_allclose((2 * values[0] + 4 * values[1]) / 6, whole)
    else:
        np.testing.assert_allclose(checks.host(factor) * (values[0] + values[1]), whole)


def test_a_loss_of_all_samples_together_has_no_parts() -> None:
    message = "dice: the loss is one of all samples together, so a batch must not be computed in parts; compile with"
    with pytest.raises(ValueError, match=message):
        losses.Dice().over_parts(np.zeros((2, 3)), WIDE)
    assert losses.Dice(axis=-1).over_parts(np.zeros((2, 3)), WIDE) is None


def test_shapes_of_weights() -> None:
    loss = losses.MeanSquaredError()
    for w in (np.ones(3), np.ones((3, 1)), np.ones((3, 1, 1)), [1, 1, 1]):
        assert loss.prepare_weights(w, (None, 2, 4)).shape == (3,)
    assert loss.prepare_weights(np.ones((3, 2, 1)), (None, 2, 4)).shape == (3, 2)
    assert loss.prepare_weights(2, (None, 4)).shape == ()
    assert loss.prepare_weights([True, False], (2, 4), WIDE).dtype == WIDE
    assert loss([[1.0], [2.0]], [[0.0], [0.0]], 2) == 5
    for w, got in ((np.ones(2), r"\(2,\)"), (np.ones((3, 3)), r"\(3, 3\)"), (np.ones((3, 2, 4)), r"\(3, 2, 4\)")):
        with pytest.raises(ValueError, match=rf"sample_weight must have the shape of the losses, \(3, 2\), .*{got}"):
            loss.prepare_weights(w, (3, 2, 4))
    with pytest.raises(ValueError, match=r"sample_weight must be finite in float32; got nan at index \(1,\)"):
        loss.prepare_weights([1, np.nan], (2, 4))
    with pytest.raises(TypeError, match="sample_weight must hold real numbers; got an array of <U1"):
        loss.prepare_weights(["a", "b"], (2, 4))
