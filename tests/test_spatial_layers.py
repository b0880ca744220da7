"""Layers that pad, crop, repeat and permute."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet.backend.arrays import Device
from gpunet.layers import (
    Cropping1D,
    Cropping2D,
    Layer,
    Permute,
    RepeatVector,
    UpSampling1D,
    ZeroPadding1D,
    ZeroPadding2D,
)

CASES: list[tuple[Layer, tuple[int, ...], Any]] = [
    (ZeroPadding1D((2, 0), dtype="float64"), (2, 3, 4), lambda x: oracle.pad(x, [(0, 0), (2, 0), (0, 0)])),
    (
        ZeroPadding2D(((1, 2), (0, 3)), dtype="float64"),
        (2, 3, 4, 2),
        lambda x: oracle.pad(x, [(0, 0), (1, 2), (0, 3), (0, 0)]),
    ),
    (Cropping1D((2, 0), dtype="float64"), (2, 5, 4), lambda x: x[:, 2:]),
    (Cropping2D((1, (0, 2)), dtype="float64"), (2, 5, 4, 3), lambda x: x[:, 1:-1, :-2]),
    (UpSampling1D(3, dtype="float64"), (2, 3, 4), lambda x: np.repeat(x, 3, axis=1)),
    (RepeatVector(3, dtype="float64"), (2, 5), lambda x: np.stack([x, x, x], axis=1)),
    (Permute((3, 1, 2), dtype="float64"), (2, 3, 4, 5), lambda x: x.transpose(0, 3, 1, 2)),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_outputs_gradients_shapes_and_configurations(
    device: Device, layer: Layer, shape: tuple[int, ...], expected: Any
) -> None:
    x = checks.normal(*shape, dtype=np.float64)
    y = layer(x)
    np.testing.assert_array_equal(y, expected(x))
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *y.shape[1:])
    unknown = layer.compute_output_shape((None,) * len(shape))
    assert len(unknown) == y.ndim
    again = assert_config_comes_back(layer)
    assert_layer_gradients(again, x, device)


def test_one_integer_or_two_stand_for_more() -> None:
    assert ZeroPadding2D(2).padding == ((2, 2), (2, 2))
    assert ZeroPadding2D((1, 2)).padding == ((1, 1), (2, 2))
    assert Cropping2D().cropping == ((0, 0), (0, 0))
    assert ZeroPadding1D().padding == (1, 1) == Cropping1D().cropping


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: ZeroPadding2D((1, 2, 3)), ValueError, "padding must be an integer, two, or two pairs"),
        (lambda: ZeroPadding2D(-1), ValueError, "ZeroPadding2D 'zero_.*': padding must be at least 0; got -1"),
        (lambda: ZeroPadding2D("12"), TypeError, "padding must be an integer; got '12'"),
        (lambda: ZeroPadding2D(1, "channels_first"), ValueError, "data_format must be 'channels_last'"),
        (lambda: Cropping1D(2)(np.zeros((1, 4, 2))), ValueError, r"at least 5.*cropping \(2, 2\); got shape"),
        (lambda: Cropping2D(1)(np.zeros((1, 9, 9))), ValueError, "add the channel axis"),
        (lambda: UpSampling1D(0), ValueError, "size must be at least 1"),
        (lambda: UpSampling1D(2)(np.zeros((1, 4))), ValueError, r"must have shape \(batch, steps, features\)"),
        (lambda: RepeatVector(2)(np.zeros((1, 4, 2))), ValueError, r"must have shape \(batch, features\)"),
        (lambda: Permute((0, 1)), ValueError, "dims must be at least 1; got 0"),
        (lambda: Permute((3, 1)), ValueError, r"dims must be 1 to 2 in some order; got \(3, 1\)"),
        (lambda: Permute((2, 1))(np.zeros((1, 4))), ValueError, "input must have 2 axes after the batch"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
