"""Every metric against Keras 3: random shapes, arguments and weights, over several batches; configurations too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gpunet import metrics
from gpunet.backend.arrays import CPU, EMULATED, HostArray

Drawn = dict[str, Any]
Random = np.random.Generator
CLASSES = 4


def _thresholds(rng: Random) -> Drawn:
    drawn: list[Any] = [None, 0.3, [0.7, 0.2], [0.0, 0.25, 0.5, 0.75, 1.0]]
    return {"thresholds": drawn[rng.integers(len(drawn))]}


def _share(rng: Random) -> Drawn:
    drawn = _thresholds(rng)
    if rng.integers(2):
        drawn["top_k"] = int(rng.integers(1, CLASSES + 1))
    return drawn | ({"class_id": int(rng.integers(CLASSES))} if rng.integers(2) else {})


def _point(name: str) -> Callable[[Random], Drawn]:
    def draw(rng: Random) -> Drawn:
        drawn: Drawn = {name: float(rng.choice([0.2, 0.5, 0.8])), "num_thresholds": int(rng.choice([1, 2, 7, 200]))}
        return drawn | ({"class_id": int(rng.integers(CLASSES))} if rng.integers(2) else {})

    return draw


def _area(rng: Random) -> Drawn:
    drawn: Drawn = {
        "num_thresholds": int(rng.choice([2, 3, 20, 200])),
        "curve": str(rng.choice(["ROC", "PR", "PRGAIN"])),
        "summation_method": str(rng.choice(["interpolation", "majoring", "minoring"])),
        "multi_label": bool(rng.integers(2)),
        "from_logits": bool(rng.integers(2)),
    }
    if rng.integers(2):
        drawn["thresholds"] = [0.6, 0.1, 0.3]
    return drawn | ({"label_weights": [0.5, 1.0, 2.0, 0.25]} if rng.integers(2) else {})


def _score(rng: Random) -> Drawn:
    averages: list[Any] = [None, "micro", "macro", "weighted"]
    thresholds: list[Any] = [None, 0.4]
    return {"average": averages[rng.integers(4)], "threshold": thresholds[rng.integers(2)]}


def _union(rng: Random) -> Drawn:
    ignored: list[Any] = [None, 1]
    return {
        "num_classes": CLASSES,
        "ignore_class": ignored[rng.integers(2)],
        "dtype": str(rng.choice(["int32", "float32"])),
    }


def _targets_too(draw: Callable[[Random], Drawn]) -> Callable[[Random], Drawn]:
    return lambda rng: draw(rng) | {"target_class_ids": [0, 2]}


def _entropy(rng: Random) -> Drawn:
    return {"from_logits": bool(rng.integers(2)), "label_smoothing": float(rng.choice([0.0, 0.2]))}


def _explained(rng: Random) -> Drawn:
    kinds: list[Any] = [None, "uniform_average", "variance_weighted_average"]
    return {"class_aggregation": kinds[rng.integers(3)], "num_regressors": int(rng.choice([0, 2]))}


def _none(rng: Random) -> Drawn:
    return {}


# What is drawn for the arguments, the kinds of targets and outputs, and the axes that weights may have.
CASES: dict[str, tuple[Callable[[Random], Drawn], str, str, str]] = {
    "Accuracy": (_none, "binary", "binary", "elements"),
    "BinaryAccuracy": (lambda rng: {"threshold": float(rng.choice([0.3, 0.5]))}, "binary", "unit", "elements"),
    "CategoricalAccuracy": (_none, "one_hot", "unit", "rows"),
    "SparseCategoricalAccuracy": (_none, "labels", "unit", "rows"),
    "TopKCategoricalAccuracy": (lambda rng: {"k": int(rng.integers(1, 4))}, "one_hot", "unit", "rows"),
    "SparseTopKCategoricalAccuracy": (lambda rng: {"k": int(rng.integers(1, 4))}, "labels", "unit", "rows"),
    **dict.fromkeys(("MeanSquaredError", "MeanAbsoluteError", "LogCoshError"), (_none, "normal", "normal", "rows")),
    "MeanAbsolutePercentageError": (_none, "unit", "normal", "rows"),
    "MeanSquaredLogarithmicError": (_none, "unit", "unit", "rows"),
    "RootMeanSquaredError": (_none, "normal", "normal", "elements"),
    "CosineSimilarity": (_none, "unit", "unit", "rows"),
    "KLDivergence": (_none, "one_hot", "unit", "rows"),
    "Poisson": (_none, "unit", "unit", "rows"),
    "BinaryCrossentropy": (_entropy, "binary", "unit", "rows"),
    "CategoricalCrossentropy": (_entropy, "one_hot", "unit", "rows"),
    "SparseCategoricalCrossentropy": (
        lambda rng: {"from_logits": bool(rng.integers(2)), **({"ignore_class": 1} if rng.integers(2) else {})},
        *("labels", "unit", "rows"),
    ),
    **dict.fromkeys(("Hinge", "SquaredHinge"), (_none, "binary", "normal", "rows")),
    "CategoricalHinge": (_none, "one_hot", "normal", "rows"),
    "R2Score": (_explained, "normal", "normal", "samples"),
    **{
        f"{kind}{sign}": (_thresholds, "binary", "unit", "elements")
        for kind in ("True", "False")
        for sign in ("Positives", "Negatives")
    },
    "Precision": (_share, "binary", "distinct", "samples"),
    "Recall": (_share, "binary", "distinct", "samples"),
    "SensitivityAtSpecificity": (_point("specificity"), "binary", "unit", "samples"),
    "SpecificityAtSensitivity": (_point("sensitivity"), "binary", "unit", "samples"),
    "PrecisionAtRecall": (_point("recall"), "binary", "unit", "samples"),
    "RecallAtPrecision": (_point("precision"), "binary", "unit", "samples"),
    "AUC": (_area, "binary", "unit", "samples"),
    "FBetaScore": (lambda rng: _score(rng) | {"beta": float(rng.choice([0.5, 2.0]))}, "one_hot", "unit", "samples"),
    "F1Score": (_score, "binary", "unit", "samples"),
    "IoU": (_targets_too(_union), "labels", "classes", "labels"),
    "MeanIoU": (_union, "labels", "classes", "labels"),
    "BinaryIoU": (lambda rng: {"threshold": 0.3}, "binary_labels", "unit_labels", "labels"),
    "OneHotIoU": (_targets_too(_union), "one_hot", "unit", "labels"),
    "OneHotMeanIoU": (_union, "one_hot", "unit", "labels"),
}
MORE_AXES = {"Accuracy", "BinaryAccuracy", "RootMeanSquaredError", "MeanAbsoluteError", "SparseCategoricalAccuracy"}


def _array(rng: Random, kind: str, shape: tuple[int, ...]) -> HostArray:
    """Few different values where ties matter, none of them on a threshold but by its bits."""
    rows = shape[:-1]
    made: dict[str, Callable[[], HostArray]] = {
        "normal": lambda: rng.standard_normal(shape),
        "unit": lambda: rng.integers(0, 17, shape) / 16 if rng.integers(2) else rng.random(shape),
        "distinct": lambda: rng.random(shape),  # torch takes any of those that tie for the last place of the top k
        "binary": lambda: rng.integers(0, 2, shape),
        "one_hot": lambda: np.eye(CLASSES)[rng.integers(0, CLASSES, rows)],
        "labels": lambda: rng.integers(0, CLASSES, rows),
        "classes": lambda: rng.integers(0, CLASSES, rows),
        "binary_labels": lambda: rng.integers(0, 2, rows),
        "unit_labels": lambda: rng.random(rows),
    }
    array = made[kind]()
    return array.astype(np.int32 if kind == "labels" else np.float32)


def _weights(rng: Random, kind: str, shape: tuple[int, ...]) -> HostArray | None:
    axes = {"elements": len(shape), "rows": len(shape) - 1, "samples": 1, "labels": len(shape) - 1}[kind]
    if rng.integers(3) == 0:
        return None
    given = rng.integers(1, axes + 1) if kind != "labels" else axes
    return (rng.random(shape[:given]) * 3 + 0.2).astype(np.float32)


@pytest.mark.parametrize("name", list(CASES))
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(seed=st.integers(0, 2**31))
def test_metrics(name: str, seed: int) -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(seed)
    draw, of_targets, of_outputs, of_weights = CASES[name]
    drawn = draw(rng)
    ours, theirs = getattr(metrics, name)(**drawn), getattr(keras.metrics, name)(**drawn)
    middle = (int(rng.integers(1, 4)),) if name in MORE_AXES and rng.integers(2) else ()
    device = EMULATED if rng.integers(3) == 0 else CPU
    for _ in range(rng.integers(1, 4)):
        shape = (int(rng.integers(4, 9)), *middle, CLASSES)
        y_true, y_pred = _array(rng, of_targets, shape), _array(rng, of_outputs, shape)
        weights = _weights(rng, of_weights, shape)
        placed = None if weights is None else checks.on(device, weights)
        ours.update_state(*checks.on(device, y_true, y_pred), placed)
        theirs.update_state(y_true, y_pred, weights)
    expected = np.asarray(theirs.result().detach().cpu().numpy())
    np.testing.assert_allclose(ours.result(), expected, rtol=2e-5, atol=2e-6, err_msg=f"{drawn}")
    missing = set(theirs.get_config()) - set(ours.get_config())
    assert not missing
    again = metrics.deserialize(metrics.serialize(ours))
    assert again.get_config() == ours.get_config()
