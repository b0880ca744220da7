"""Loads of several neighbouring elements at once (Run.width in gpunet/ops/tiles.py): the same bits."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import CPU, Array, Device, empty_like
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_gradients
from gpunet.ops.convolution_pooling import convolution_pooling, convolution_pooling_gradients
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.tiles import Run

RELU = Activation.RELU
# Rows, terms and columns of a product for every tile, edges and a remainder of terms included: multiples of 4.
PRODUCTS = {
    tiles.LARGE: (1028, 20, 1020),
    tiles.MEDIUM: (68, 36, 60),
    tiles.TALL: (8072, 36, 28),
    tiles.NARROW: (68, 36, 28),
    tiles.SMALL: (28, 36, 32),
}
DOUBLE_PRODUCTS = {tiles.DOUBLE_MEDIUM: (68, 36, 60), tiles.DOUBLE_SMALL: (28, 36, 32)}


@pytest.fixture(autouse=True)
def _where_kernels_run(device: Device) -> None:
    if device == CPU:
        pytest.skip("cpu: has no kernels")


def _dense(device: Device, m: int, k: int, n: int, shift: int = 0) -> list[Array]:
    """Return y and all gradients; the arrays begin `shift` elements after an aligned address."""
    sizes = ((m, k), (k, n), (m, n))
    x, w, dy = (_placed(device, checks.normal(*size, seed=i), shift) for i, size in enumerate(sizes))
    y, saved = dense(x, w, None, RELU)
    dw = empty_like(w)
    dense_kernel_gradient(x, dy, saved, RELU, dw, None)
    return [y, dw, dense_input_gradient(dy, saved, w, RELU)]


def _forward(device: Device, m: int, k: int, n: int, dtype: Any = np.float32) -> list[Array]:
    x, w = checks.on(device, checks.normal(m, k, dtype=dtype), checks.normal(k, n, seed=1, dtype=dtype))
    return [dense(x, w, None, RELU)[0]]


def _placed(device: Device, values: np.ndarray, shift: int) -> Array:
    memory = checks.on(device, np.concatenate((np.zeros(shift, values.dtype), values.reshape(-1))))
    return memory[shift:].reshape(values.shape)


def _images(device: Device, geometry: Geometry, c: int, f: int) -> list[Array]:
    """Return what both kinds of convolution and all their gradients give for c channels and f filters."""
    x, w = checks.on(device, checks.normal(3, 9, 8, c), checks.normal(3, 2, c // geometry.groups, f, seed=1))
    y, saved = convolution(x, w, None, RELU, geometry)
    dw = empty_like(w)
    found = [y, dw, convolution_gradients(x, y, saved, w, RELU, geometry, dw, None)]
    z, *saved_and_winner = convolution_pooling(x, w, None, RELU, geometry, "same")
    dw = empty_like(w)
    dx = convolution_pooling_gradients(x, z, *saved_and_winner, w, RELU, geometry, "same", dw, None)
    return [*found, z, *saved_and_winner, dx, dw]


def _widths(launches: list[Any]) -> set[tuple[str, str]]:
    """Return A_WIDTH and B_WIDTH of the launches of matrix products."""
    defines = [dict(option[2:].split("=") for option in launch.options) for launch in launches]
    return {(some["A_WIDTH"], some["B_WIDTH"]) for some in defines if "A_WIDTH" in some}


def _check_same_bits(monkeypatch: pytest.MonkeyPatch, run: Any, expected: set[tuple[str, str]]) -> None:
    with checks.recorded_launches() as launches:
        wide = run()
    assert _widths(launches) >= expected
    with monkeypatch.context() as patch:
        patch.setattr(Run, "width", 1)
        with checks.recorded_launches() as launches:
            narrow = run()
    assert _widths(launches) == {("1", "1")}
    for one, other in zip(wide, narrow, strict=True):
        checks.assert_same_bits(one, other)


@pytest.mark.parametrize("tile", PRODUCTS, ids=["large", "medium", "tall", "narrow", "small"])
def test_products(device: Device, tile: tiles.Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    m, k, n = PRODUCTS[tile]
    assert tiles.choose_tile(m, n, np.float32) == tile
    _check_same_bits(monkeypatch, lambda: _forward(device, m, k, n), {("4", "4")})


@pytest.mark.parametrize("tile", DOUBLE_PRODUCTS, ids=["medium", "small"])
def test_products_in_double(device: Device, tile: tiles.Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    m, k, n = DOUBLE_PRODUCTS[tile]
    assert tiles.choose_tile(m, n, np.float64) == tile
    _check_same_bits(monkeypatch, lambda: _forward(device, m, k, n, np.float64), {("2", "2")})


def test_gradients(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_same_bits(monkeypatch, lambda: _dense(device, 68, 60, 64), {("4", "4")})


@pytest.mark.parametrize("strides", [1, 2])
def test_convolutions(device: Device, strides: int, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = Geometry((strides, 1), (1, 2), ((1, 1), (0, 1)), groups=2)
    _check_same_bits(monkeypatch, lambda: _images(device, geometry, 8, 72), {("4", "4")})


def test_a_factor_whose_runs_are_no_whole_packs_is_read_one_by_one(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_same_bits(monkeypatch, lambda: _images(device, Geometry(), 5, 36)[:1], {("1", "4")})
    _check_same_bits(monkeypatch, lambda: _forward(device, 68, 33, 60), {("1", "4")})
    _check_same_bits(monkeypatch, lambda: _forward(device, 68, 36, 58), {("4", "1")})


def test_arrays_that_are_not_aligned(device: Device) -> None:
    aligned = _dense(device, 68, 36, 60)
    for shift in (1, 2, 3):
        with checks.recorded_launches() as launches:
            found = _dense(device, 68, 36, 60, shift=shift)
        assert ("1", "1") in _widths(launches)
        for one, other in zip(found, aligned, strict=True):
            checks.assert_same_bits(one, other)
