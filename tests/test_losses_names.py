"""Losses by name, as functions, as configurations, in a step of training; bad arguments of theirs."""

from __future__ import annotations

import json

import checks
import numpy as np
import oracle
import pytest

from gpunet import Input, Sequential, losses
from gpunet.backend import devices
from gpunet.backend.arrays import Device
from gpunet.layers import Softmax
from gpunet.losses import Loss


@pytest.mark.parametrize(
    "name, short, expected",
    [
        ("mean_absolute_error", "mae", losses.MeanAbsoluteError),
        ("mean_absolute_percentage_error", "MAPE", losses.MeanAbsolutePercentageError),
        ("mean_squared_logarithmic_error", "msle", losses.MeanSquaredLogarithmicError),
        ("kl_divergence", "KLD", losses.KLDivergence),
        ("kl_divergence", "kullback_leibler_divergence", losses.KLDivergence),
        ("log_cosh", "logcosh", losses.LogCosh),
        ("huber", "Huber", losses.Huber),
        ("poisson", "Poisson", losses.Poisson),
        ("hinge", "Hinge", losses.Hinge),
        ("squared_hinge", "SquaredHinge", losses.SquaredHinge),
        ("categorical_hinge", "CategoricalHinge", losses.CategoricalHinge),
        ("cosine_similarity", "CosineSimilarity", losses.CosineSimilarity),
        ("binary_focal_crossentropy", "BinaryFocalCrossentropy", losses.BinaryFocalCrossentropy),
        ("categorical_focal_crossentropy", "CategoricalFocalCrossentropy", losses.CategoricalFocalCrossentropy),
        ("dice", "Dice", losses.Dice),
        ("tversky", "Tversky", losses.Tversky),
        ("circle", "Circle", losses.Circle),
        (
            "categorical_generalized_cross_entropy",
            "CategoricalGeneralizedCrossEntropy",
            losses.CategoricalGeneralizedCrossEntropy,
        ),
    ],
)
def test_every_name_and_function_is_its_class(name: str, short: str, expected: type[Loss]) -> None:
    function = getattr(losses, name)
    assert type(losses.get(name)) is type(losses.get(short)) is type(losses.get(function)) is expected
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.random((3, 4)), rng.random((3, 4))
    loss = expected(reduction=None)
    if loss.sparse_targets:
        y_true, more = np.array([1, 0, 1]), {"q": 0.5} if "generalized" in name else {}
        np.testing.assert_array_equal(function(y_true, y_pred, **more), loss(y_true, y_pred))
    else:
        np.testing.assert_array_equal(function(y_true, y_pred), loss(y_true, y_pred))


@pytest.mark.parametrize(
    "loss",
    [
        losses.Huber(0.3, dtype="float64"),
        losses.CategoricalFocalCrossentropy([0.1, 0.2], 1.5, axis=1),
        losses.BinaryFocalCrossentropy(True, 0.3, 1.0, True, 0.1, 1),
        losses.Tversky(0.1, 0.2, axis=(1, 2)),
        losses.CosineSimilarity(axis=1),
        losses.Circle(2.0, 0.3, False),
        losses.SparseCategoricalCrossentropy(axis=1),
        losses.CategoricalGeneralizedCrossEntropy(0.3),
    ],
    ids=lambda loss: loss.name,
)
def test_arguments_come_back(loss: Loss) -> None:
    copy = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    assert vars(copy) == vars(loss)


def test_the_softmax_is_not_taken_in_by_a_loss_over_another_axis() -> None:
    assert losses.CategoricalCrossentropy().is_known
    assert not losses.CategoricalCrossentropy(axis=1).is_known


def test_steps_with_losses_that_keep_something_on_the_device_are_captured(device: Device) -> None:
    """A step that could not be captured would warn."""
    x, y = checks.normal(4, 3), np.eye(4, dtype=np.float32)[:, :3]
    for loss in (losses.CategoricalFocalCrossentropy([0.2, 0.3, 0.4], 1.25), losses.Hinge(), losses.Dice()):
        with devices.device(str(device)):
            model = Sequential([Input((3,)), Softmax()])
        model.compile("sgd", loss)
        first = model.fit(x, y, epochs=4, verbose=0).history["loss"]
        assert first == pytest.approx([loss(y, oracle.softmax(x))] * 4, rel=1e-5)


def test_bad_arguments_of_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="Huber: delta must be finite and at least 0; got -1"):
        losses.Huber(-1)
    with pytest.raises(ValueError, match="CrossEntropy: q must be more than 0 and less than 1; got 1"):
        losses.CategoricalGeneralizedCrossEntropy(1)
    with pytest.raises(ValueError, match="alpha must be a number or hold one for each of 3 classes; got 2 of them"):
        losses.CategoricalFocalCrossentropy([0.1, 0.2])(np.eye(3), np.eye(3))
    with pytest.raises(TypeError, match="CategoricalFocalCrossentropy: alpha must be a number; got 'a'"):
        losses.CategoricalFocalCrossentropy(["a"])
    with pytest.raises(ValueError, match=r"dice: axis must be different axes from -2 to 1 .*; got \(0, -2\)"):
        losses.Dice(axis=(0, -2))(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match=r"Dice: axis must be None, an integer or several; got \(\)"):
        losses.Dice(axis=())
