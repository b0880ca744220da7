"""The digits that the package carries, and the resizing of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gpunet
from gpunet.datasets import digits, load_digits, resize


def test_the_digits() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert (x_train.shape, x_test.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert x_train.dtype == y_train.dtype == x_test.dtype == y_test.dtype == np.uint8
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    assert (x.min(), x.max()) == (0, digits.LARGEST_PIXEL)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as scikit-learn counts them
    assert np.bincount(y_test).tolist() == [36] * 10
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) == 1797  # no image is in both sets


def test_the_split_depends_on_its_seed_alone() -> None:
    (x_train, _), (x_test, _) = load_digits()
    gpunet.set_random_seed(123)
    (again, _), (test_again, _) = load_digits(seed=0)
    assert np.array_equal(x_train, again) and np.array_equal(x_test, test_again)
    assert not np.array_equal(load_digits(seed=1)[1][0], x_test)
    order = np.random.Generator(np.random.Philox(key=[0, 4], counter=[0, 0, 0, 0])).permutation(1797)
    with np.load(Path(digits.__file__).with_name("digits.npz")) as file:
        y = file["y"][order]
        is_test = np.array([np.count_nonzero(y[:place] == y[place]) < 36 for place in range(1797)])
        assert np.array_equal(file["x"][order][is_test], x_test)


def test_a_bad_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be from 0"):
        load_digits(seed=-1)


def test_the_licence_travels_with_the_data() -> None:
    text = Path(digits.__file__).with_name("DIGITS_LICENSE.md").read_text(encoding="utf-8")
    for part in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0"):
        assert part in text


def test_resize_interpolates_between_centres() -> None:
    x = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(resize(x, (1, 4)).ravel(), [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(resize(np.arange(6.0).reshape(1, 6, 1, 1), (3, 1)).ravel(), [0.5, 2.5, 4.5])


def test_resize_keeps_what_it_can() -> None:
    x = np.random.default_rng(0).random((3, 5, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(resize(x, (5, 7)), x)
    y = resize(x, 9)
    assert y.shape == (3, 9, 9, 2) and y.dtype == np.float32 and y.flags.c_contiguous
    turned = resize(x.transpose(0, 2, 1, 3), 9).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(y, turned, rtol=1e-5)  # rows and columns are treated alike
    np.testing.assert_allclose(resize(np.full((1, 1, 1, 1), 7, np.uint8), (4, 3)), 7)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((8, 8, 1), 4, r"resize: x must have shape \(N, H, W, C\), no size 0; got \(8, 8, 1\)"),
        ((0, 8, 8, 1), 4, r"got \(0, 8, 8, 1\)"),
        ((1, 8, 8, 1), 0, "resize: size must be at least 1; got 0"),
    ],
)
def test_resize_refuses(shape: tuple[int, ...], size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resize(np.zeros(shape), size)
