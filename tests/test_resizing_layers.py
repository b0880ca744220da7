"""Resizing, CenterCrop and UpSampling2D."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.layers import CenterCrop, Layer, Resizing, UpSampling2D


def _resized(x: HostArray, height: int, width: int, name: str = "bilinear", antialias: bool = False) -> HostArray:
    return oracle.resample(oracle.resample(x, 1, height, name, antialias), 2, width, name, antialias)


# Inputs are (2, 7, 5, 2).
CASES: list[tuple[Layer, Any]] = [
    (UpSampling2D((2, 3), dtype="float64"), lambda x: oracle.repeat(x, (1, 2, 3, 1))),
    (UpSampling2D(2, interpolation="BICUBIC", dtype="float64"), lambda x: _resized(x, 14, 10, "bicubic")),
    (Resizing(4, 9, dtype="float64"), lambda x: _resized(x, 4, 9)),
    (Resizing(3, 2, "lanczos3", antialias=True, dtype="float64"), lambda x: _resized(x, 3, 2, "lanczos3", True)),
    (Resizing(3, 8, "area", dtype="float64"), lambda x: _resized(x, 3, 8, "area")),
    (Resizing(3, 3, crop_to_aspect_ratio=True, dtype="float64"), lambda x: _resized(x[:, 1:6], 3, 3)),
    (
        Resizing(3, 3, "nearest", pad_to_aspect_ratio=True, fill_value=0.5, dtype="float64"),
        lambda x: _resized(oracle.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)], 0.5), 3, 3, "nearest"),
    ),
    (CenterCrop(4, 2, dtype="float64"), lambda x: x[:, 1:5, 1:3]),
    (CenterCrop(7, 5, dtype="float64"), lambda x: x),
    (CenterCrop(8, 4, dtype="float64"), lambda x: _resized(x[:, :, 1:4], 8, 4)),
]


@pytest.mark.parametrize(("layer", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_outputs_gradients_shapes_and_configurations(device: Device, layer: Layer, expected: Any) -> None:
    x = checks.normal(2, 7, 5, 2, dtype=np.float64)
    layer = assert_config_comes_back(layer)
    for training in (False, True):
        checks.assert_close_in_double(layer(x, training=training), expected(x))
    assert layer.compute_output_shape((None, 7, 5, 2)) == (None, *expected(x).shape[1:])
    assert_layer_gradients(layer, x, device)


def test_sizes_that_are_right_already_cost_nothing(device: Device) -> None:
    x = checks.on(device, checks.normal(2, 3, 4, 1))
    with checks.recorded_launches() as launches:
        y, _ = Resizing(3, 4, "bicubic").apply(x, False)
        assert y is x
        Resizing(3, 2, "bicubic").apply(x, False)
    assert len(launches) == (0 if device == CPU else 1)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Resizing(0, 3), ValueError, "Resizing 'resizing.*': height must be at least 1; got 0"),
        (lambda: Resizing(3, 3, "cubic"), ValueError, "interpolation must be one of 'nearest', .*; got 'cubic'"),
        (lambda: Resizing(3, 3, "area", True, True), ValueError, "pad_to_aspect_ratio must be False with crop_to"),
        (lambda: Resizing(3, 3, fill_mode="wrap"), ValueError, "fill_mode must be one of 'constant'; got 'wrap'"),
        (lambda: Resizing(3, 3, antialias=1), TypeError, "antialias must be True or False"),
        (lambda: UpSampling2D((2, 0)), ValueError, "size must be at least 1; got 0"),
        (lambda: UpSampling2D(2, "channels_first"), ValueError, "data_format must be 'channels_last'"),
        (lambda: CenterCrop(2, 2)(np.zeros((3, 4, 4))), ValueError, "add the channel axis"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
