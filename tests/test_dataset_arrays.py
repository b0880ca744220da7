"""What arrays become before training: one-hot classes, rows of norm 1, two parts of a set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gpunet.datasets.arrays import normalize, split_dataset, to_categorical


@pytest.mark.parametrize("shape", [(5,), (5, 1), (2, 3), (2, 3, 1)])
def test_one_hot_classes(shape: tuple[int, ...]) -> None:
    classes = np.random.default_rng(0).integers(0, 4, shape)
    made = to_categorical(classes, 6)
    rows = shape[:-1] if shape[-1] == 1 else shape
    assert made.shape == (*rows, 6) and made.dtype == np.float64
    np.testing.assert_array_equal(made.argmax(-1).reshape(shape), classes)
    np.testing.assert_array_equal(made.sum(-1), np.ones(rows))
    assert to_categorical([2.0, 0.0]).shape == (2, 3)


@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
def test_rows_of_norm_1(order: float) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    x[1] = 0
    expected = [[np.linalg.norm(row, order)] for row in x]
    np.testing.assert_allclose(normalize(x, order=order) * np.where(np.equal(expected, 0), 1, expected), x)
    np.testing.assert_allclose(normalize(x.T, 0, order), normalize(x, -1, order).T)


def test_two_parts_of_a_set() -> None:
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    (left_x, _), (right_x, right_y) = split_dataset((x, y), left_size=0.7)
    assert (left_x.shape, right_x.shape) == ((7, 2), (3, 2)) and right_y.tolist() == [7, 8, 9]
    left, right = split_dataset(y, right_size=4, left_size=2)
    assert (left.tolist(), right.tolist()) == ([0, 1], [2, 3, 4, 5])
    left, right = split_dataset(y, right_size=4, shuffle=True, seed=3)
    again, _ = split_dataset(y, right_size=4, shuffle=True, seed=3)
    assert sorted([*left, *right]) == y.tolist() != [*left, *right] and left.tolist() == again.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_categorical([0, -1]), r"x must hold classes 0, 1, ...; got \[0, -1\]"),
        (lambda: to_categorical([0.5]), "x must hold classes"),
        (lambda: to_categorical([3], 3), "num_classes must be at least 4, for class 3; got 3"),
        (lambda: normalize([1.0], axis=1), "axis must be one of the 1 axes of x; got 1"),
        (lambda: split_dataset(np.arange(2)), "left_size or right_size must be given"),
        (lambda: split_dataset(([1, 2], [1])), "dataset must hold arrays of as many samples each"),
        (lambda: split_dataset(np.arange(3), 3), "sizes must share 3 samples, at least 1 each; got 3 and 0"),
        (lambda: split_dataset(np.arange(3), 1.5), "left_size must be .* 1.*; got 1.5"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
