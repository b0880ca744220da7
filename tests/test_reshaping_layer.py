"""Flatten and Reshape."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet.backend.arrays import Device
from gpunet.layers import Flatten, Reshape


@pytest.mark.parametrize(
    "shape, expected", [((3,), (3, 1)), ((3, 4), (3, 4)), ((3, 4, 5), (3, 20)), ((2, 5, 5, 64), (2, 1600))]
)
def test_flatten(device: Device, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    layer = Flatten(dtype="float64")
    x = checks.normal(*shape, dtype=np.float64)
    np.testing.assert_array_equal(layer(x), x.reshape(expected))
    assert layer.compute_output_shape(shape) == expected
    assert layer.compute_output_shape((None, *shape[1:])) == (None, expected[1])
    assert_layer_gradients(layer, x, device)


@pytest.mark.parametrize(
    "target, expected", [((24,), (24,)), ((4, 6), (4, 6)), ((-1, 3), (8, 3)), ((2, -1, 2), (2, 6, 2)), ([8, 3], (8, 3))]
)
def test_reshape(device: Device, target: Any, expected: tuple[int, ...]) -> None:
    layer = Reshape(target, dtype="float64")
    x = checks.normal(2, 3, 8, dtype=np.float64)
    np.testing.assert_array_equal(layer(x), x.reshape(2, *expected))
    assert layer.compute_output_shape((None, 3, 8)) == (None, *expected)
    assert_layer_gradients(layer, x, device)


def test_unknown_sizes_stay_unknown() -> None:
    assert Flatten().compute_output_shape((None, None, 3)) == (None, None)
    assert Reshape((-1, 3)).compute_output_shape((None, None, 3)) == (None, None, 3)


def test_the_result_is_not_a_view_of_the_users_array() -> None:
    x = np.zeros((2, 3, 4), np.float32)
    for layer in (Flatten(), Reshape((12,))):
        layer(x)[:] = 1
    assert not x.any()


def test_configurations() -> None:
    assert_config_comes_back(Flatten("channels_last", activity_regularizer="l2", name="flat"))
    again = assert_config_comes_back(Reshape((3, -1), dtype="float64", trainable=False))
    assert isinstance(again, Reshape) and again.target_shape == (3, -1)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Flatten("channels_first"), ValueError, "Flatten 'flatten.*': data_format must be 'channels_last'"),
        (lambda: Flatten()(np.float32(3)), ValueError, r"input must have shape \(batch, ...\); got \(\)"),
        (lambda: Reshape(3), TypeError, "Reshape 'reshape.*': target_shape must be a tuple of integers; got 3"),
        (lambda: Reshape((-1, -1)), ValueError, r"one -1 at most; got \(-1, -1\)"),
        (lambda: Reshape((0, 3)), ValueError, "sizes of at least 1"),
        (lambda: Reshape((-2, 3)), ValueError, "target_shape must be at least -1; got -2"),
        (
            lambda: Reshape((5, 2))(np.zeros((2, 12))),
            ValueError,
            "input must have 10 elements a sample.*got shape .2, 12.",
        ),
        (lambda: Reshape((5, -1))(np.zeros((2, 12))), ValueError, "a multiple of 5 elements a sample"),
        (lambda: Reshape((5, 2)).compute_output_shape((None, 20)), ValueError, "input must have 10 elements"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
