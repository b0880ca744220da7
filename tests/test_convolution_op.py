"""Convolution and its gradients: any stride, dilation, padding and groups, on every tile."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend import emulator
from gpunet.backend.arrays import Device, Kind, empty_like
from gpunet.ops import convolution_direct, im2col, tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_sizes import Geometry, Sizes

RELU, LINEAR = Activation.RELU, Activation.LINEAR
CHUNK = 512  # of kernels/gemm.cuh: terms that one register adds up

# Shapes of x and w, geometry.
CASES = {
    "one number": ((1, 1, 1, 1), (1, 1, 1, 1), Geometry()),
    "plain": ((2, 7, 6, 3), (3, 2, 3, 5), Geometry()),
    "one channel": ((2, 9, 8, 1), (3, 3, 1, 4), Geometry(pads=((1, 1), (1, 1)))),
    "same, uneven": ((2, 6, 7, 3), (4, 3, 3, 2), Geometry((2, 2), pads=((1, 1), (1, 1)))),
    "asymmetric pads": ((1, 5, 4, 2), (3, 3, 2, 3), Geometry(pads=((0, 2), (1, 0)))),
    "strides": ((2, 9, 11, 2), (3, 3, 2, 3), Geometry((2, 3))),
    "strides beyond the window": ((2, 11, 9, 2), (2, 1, 2, 3), Geometry((4, 3))),
    "strides beyond the image": ((3, 3, 5, 2), (2, 3, 2, 3), Geometry((5, 9), pads=((2, 1), (0, 6)))),
    "strides and dilation with a common divisor": ((2, 11, 12, 2), (3, 3, 2, 3), Geometry((4, 6), (2, 4))),
    "strides along one axis": ((2, 4, 9, 2), (2, 3, 2, 3), Geometry((1, 2), pads=((0, 1), (1, 1)))),
    "dilation": ((1, 11, 9, 2), (3, 2, 2, 3), Geometry(dilation=(3, 4))),
    "all at once": ((2, 13, 12, 6), (3, 2, 2, 9), Geometry((2, 3), (2, 1), ((2, 1), (0, 3)), 3)),
    "depthwise": ((2, 6, 5, 7), (3, 3, 1, 7), Geometry(pads=((1, 1), (1, 1)), groups=7)),
    "depthwise, three filters each": ((1, 6, 5, 4), (3, 3, 1, 12), Geometry(groups=4)),
    "window as big as the image": ((3, 5, 4, 2), (5, 4, 2, 3), Geometry()),
    "padding beyond the image": ((1, 2, 1, 2), (3, 3, 2, 2), Geometry(pads=((4, 3), (5, 4)))),
    "long runs, dilation": ((2, 7, 9, 16), (2, 2, 16, 3), Geometry(dilation=(2, 3))),
    "long runs, groups": ((2, 5, 6, 16), (3, 3, 8, 4), Geometry(pads=((1, 0), (0, 1)), groups=2)),
    "1 x 1": ((2, 3, 4, 19), (1, 1, 19, 17), Geometry()),
}

# Pixels of y (or taps, or pixels of x) and filters (or channels) near the edges of tiles: shapes of x and w.
EDGES = {
    tiles.SMALL: [((1, 5, 6, 3), (2, 2, 3, 33)), ((1, 4, 9, 2), (1, 2, 2, 32))],
    tiles.NARROW: [((1, 9, 8, 2), (1, 2, 2, 31)), ((1, 8, 9, 5), (1, 2, 5, 32)), ((5, 7, 7, 2), (3, 3, 2, 17))],
    tiles.TALL: [((9, 31, 33, 2), (1, 2, 2, 31)), ((8, 32, 33, 5), (1, 2, 5, 32))],
    tiles.MEDIUM: [((1, 9, 8, 2), (1, 2, 2, 65)), ((1, 8, 9, 5), (1, 2, 5, 64)), ((3, 9, 9, 4), (3, 3, 4, 63))],
    tiles.LARGE: [((9, 31, 34, 2), (1, 2, 2, 129)), ((8, 32, 33, 3), (1, 2, 3, 128))],
}


@pytest.fixture(autouse=True)
def _as_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where channels are few or groups small; tests/test_convolution_direct.py is about the kernels for these."""
    for name in ("has_few_channels", "has_small_groups"):
        monkeypatch.setattr(convolution_direct, name, lambda sizes: False)


def _arrays(x_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry, dtype: type = np.float32) -> Any:
    """Return x, w, b, dy."""
    x, w, b = (checks.normal(*s, seed=i, dtype=dtype) for i, s in enumerate([x_shape, w_shape, w_shape[3:]]))
    dy = checks.normal(*oracle.convolution_z(x, w, b, **vars(geometry)).shape, seed=3, dtype=dtype)
    return x, w, b, dy


def _run(device: Device, arrays: Any, geometry: Geometry, activation: Activation = RELU) -> tuple[Any, ...]:
    """Return y, dx, dw, db."""
    x, w, b, dy = checks.on(device, *arrays)
    y, saved = convolution(x, w, b, activation, geometry)
    dx = convolution_input_gradient(dy, saved, w, activation, geometry, x.shape)
    dw, db = empty_like(w), None if b is None else empty_like(b)
    convolution_kernel_gradient(x, dy, saved, activation, geometry, dw, db)
    for array, before in zip((x, w, b, dy), arrays, strict=True):
        if before is not None:
            checks.assert_same_bits(array, before)
    return y, dx, dw, db


def _expected(arrays: Any, geometry: Geometry, activation: Activation = RELU) -> tuple[np.ndarray, ...]:
    x, w, b, dy = arrays
    z = oracle.convolution_z(x, w, b, **vars(geometry))
    dz = dy * oracle.activation_derivative(activation.value, z)
    return oracle.activation(activation.value, z), *oracle.convolution_gradients(x, w, dz, **vars(geometry))


def _in_double(arrays: Any) -> Any:
    return tuple(None if array is None else array.astype(np.float64) for array in arrays)


def _check(device: Device, arrays: Any, geometry: Geometry, activation: Activation = RELU) -> None:
    exact, plain = _expected(_in_double(arrays), geometry, activation), _expected(arrays, geometry, activation)
    for result, exact_result, plain_result in zip(
        _run(device, arrays, geometry, activation), exact, plain, strict=True
    ):
        if result is not None:
            checks.assert_as_exact_as_plain(result, exact_result, plain_result)


@pytest.mark.parametrize("case", CASES)
def test_cases(device: Device, case: str) -> None:
    _check(device, _arrays(*CASES[case]), CASES[case][2])


@pytest.mark.parametrize("case", CASES)
def test_cases_in_double(device: Device, case: str) -> None:
    arrays = _arrays(*CASES[case], dtype=np.float64)
    for result, exact in zip(_run(device, arrays, CASES[case][2]), _expected(arrays, CASES[case][2]), strict=True):
        checks.assert_close_in_double(result, exact)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Geometry]:
    """Draw the shapes of x and w and a geometry that fit each other."""
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    kernel = [draw(st.integers(1, min((size[i] + sum(pads[i]) - 1) // dilation[i] + 1, 4))) for i in range(2)]
    groups = draw(st.integers(1, 3))
    channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x_shape = draw(st.integers(1, 3)), *size, channels * groups
    strides = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return x_shape, (*kernel, channels, filters * groups), Geometry(strides, dilation, pads, groups)  # type: ignore


@given(case=geometries())
def test_any_geometry(device: Device, case: tuple[tuple[int, ...], tuple[int, ...], Geometry]) -> None:
    arrays = _arrays(*case, dtype=np.float64)
    for result, exact in zip(_run(device, arrays, case[2]), _expected(arrays, case[2]), strict=True):
        checks.assert_close_in_double(result, exact)


@pytest.mark.parametrize("tile", EDGES, ids=["small", "narrow", "tall", "medium", "large"])
def test_edges_of_every_tile(device: Device, tile: tiles.Tile) -> None:
    for x_shape, w_shape in EDGES[tile]:
        arrays = _arrays(x_shape, w_shape, Geometry())
        pixels = arrays[3].size // w_shape[3]
        assert tiles.choose_tile(pixels, w_shape[3], np.float32) == tile
        _check(device, arrays, Geometry())
        # With channels and filters exchanged, the same sizes are those of the input gradient.
        r, s, c, f = w_shape
        pads = ((r - 1, r - 1), (s - 1, s - 1))
        turned = (x_shape[0], arrays[3].shape[1], arrays[3].shape[2], f), (r, s, f, c), Geometry(pads=pads)
        _check(device, _arrays(*turned), turned[2])


# Dense runs all activations through the same epilogues and loaders; every kind here costs a compilation.
@pytest.mark.parametrize("activation", [LINEAR, RELU, Activation.TANH, Activation.GELU])
def test_activations(device: Device, activation: Activation) -> None:
    arrays = _arrays((2, 6, 5, 3), (3, 3, 3, 4), Geometry())
    _check(device, arrays, Geometry(), activation)


SPLITS = {
    RELU: ((1, 24, 24, 112), (3, 3, 112, 134)),  # sums of 1008, 1206 and 576 terms, larger tiles
    Activation.GELU: ((21, 5, 5, 60), (3, 3, 60, 60)),  # 540, 540 and 525 terms
}


@pytest.mark.parametrize("activation", SPLITS)
def test_split_sums(device: Device, activation: Activation) -> None:
    geometry = Geometry(pads=((1, 1), (1, 1)))
    x_shape, w_shape = SPLITS[activation]
    x, w, b, dy = _arrays(x_shape, w_shape, geometry)
    (r, s, c, f), pixels = w_shape, dy.size // w_shape[3]
    for sizes in [(pixels, f, r * s * c), (pixels, c, r * s * f), (r * s * c, f, pixels)]:
        assert tiles.plan(*sizes, np.float32).splits > 1
    _check(device, (x, w / 30, b, dy), geometry, activation)


def test_groups_and_splits(device: Device) -> None:
    """Splits of several groups share one workspace."""
    geometry = Geometry(groups=3)
    assert tiles.plan(9, 2, 24 * 25, np.float32, groups=3).splits == 2
    _check(device, _arrays((1, 26, 27, 3), (3, 3, 1, 6), geometry), geometry)
    assert tiles.plan(2, 2, 3 * 3 * 64, np.float32, groups=3).splits == 2
    _check(device, _arrays((2, 3, 3, 192), (3, 3, 64, 6), geometry), geometry)


@pytest.mark.parametrize("blocks", [256, 1], ids=["splits", "chunks"])
def test_long_sums_with_strides(device: Device, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """640, 320, 320 and 160 terms: the phases' sums end in the first split or the second, or go on in memory."""
    monkeypatch.setattr(tiles, "_ENOUGH_BLOCKS", blocks)
    x_shape, w_shape, geometry = (2, 9, 8, 5), (3, 3, 5, 160), Geometry((2, 2), pads=((1, 1), (0, 1)))
    assert tiles.plan(2 * 5 * 4, 5, 2 * 2 * 160, np.float32, 4).splits == (2 if blocks > 1 else 1)
    x, w, b, dy = _arrays(x_shape, w_shape, geometry)
    _check(device, (x, w / 10, b, dy), geometry)


def test_splits_that_begin_behind_the_end_of_short_sums(device: Device) -> None:
    """2080, 1040 and 520 terms in 8 splits each: seven take all units of 16 terms of the last, and more."""
    x_shape, w_shape, geometry = (1, 5, 5, 5), (3, 3, 5, 520), Geometry((2, 2))
    assert tiles.plan(3 * 3, 5, 2 * 2 * 520, np.float32, phases=4).splits == 8
    x, w, b, dy = _arrays(x_shape, w_shape, geometry)
    _check(device, (x, w / 10, b, dy), geometry)


def test_kernel_gradient_over_very_many_pixels(device: Device) -> None:
    """Splits longer than a chunk: 360 * 420 pixels in 256 splits at most."""
    arrays = _arrays((1, 362, 422, 1), (3, 3, 1, 2), Geometry())
    assert 256 * CHUNK < 360 * 420
    _check(device, arrays, Geometry())


def test_offsets_beyond_an_int(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a window reaches over 2^31 elements; here the bound is less."""
    x_shape, w_shape, geometry = CASES["all at once"]
    arrays = _arrays(x_shape, w_shape, geometry)
    results = _run(device, arrays, geometry)
    farthest = Sizes(x_shape, w_shape, arrays[3].shape, geometry)._farthest_tap
    assert farthest == (3 * 2 + 4 * 16) * 3 * 12 * 6
    monkeypatch.setattr("gpunet.ops.convolution_sizes._END_OF_INT", farthest)
    with checks.recorded_launches() as launches:
        for result, expected in zip(_run(device, arrays, geometry), results, strict=True):
            checks.assert_same_bits(result, expected)
    assert all("-DTAP_OFFSET=Index" in launch.options for launch in launches)


def test_without_bias(device: Device) -> None:
    for case in ("plain", "one channel", "all at once"):
        x, w, _, dy = _arrays(*CASES[case])
        _, _, _, db = _run(device, (x, w, None, dy), CASES[case][2])
        assert db is None
        _check(device, (x, w, None, dy), CASES[case][2])


def test_batches_and_images_larger_than_the_cpu_takes_at_once(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(im2col, "_LARGEST_BLOCK", 2**18)
    x_shape, w_shape = (11, 20, 20, 8), (3, 3, 8, 8)
    for geometry in (
        Geometry((2, 1), (2, 1), ((1, 2), (0, 1))),
        Geometry((1, 2), (1, 1), ((0, 2), (1, 1))),
        Geometry((1, 1), (1, 1), ((0, 0), (0, 0)), 2),
    ):
        for images in (x_shape[0], 2):
            arrays = _arrays(
                (images, *x_shape[1:]), (*w_shape[:2], w_shape[2] // geometry.groups, w_shape[3]), geometry
            )
            _check(device, arrays, geometry)
        monkeypatch.setattr(im2col, "_LARGEST_BLOCK", 2**16)  # less than an image
    monkeypatch.setattr(im2col, "_LARGEST_BLOCK", 2**10)  # two rows: some see nothing but padding
    geometry = Geometry(pads=((6, 7), (0, 0)))
    _check(device, _arrays((2, 4, 9, 4), (3, 3, 4, 5), geometry), geometry)


def test_blocks() -> None:
    """Images of 10 rows and 1 MiB: blocks of two; of 3 MiB: blocks of rows, in pairs; small ones: some blocks."""
    cut = im2col.blocks(5, 8, 2**17)
    assert [(block.images, block.rows) for block in cut] == [
        (slice(start, stop), slice(0, 8)) for start, stop in ((0, 1), (1, 2), (2, 3), (3, 5))
    ]
    rows = [slice(0, 4), slice(4, 7)]
    assert im2col.blocks(2, 7, 2**19) == [(slice(image, image + 1), cut) for image in range(2) for cut in rows]
    assert [block.size[1] for block in im2col.blocks(1, 32, 9 * 2**13)] == [16, 16]  # not 28 and 4
    assert [block.images.stop for block in im2col.blocks(32, 1, 2**16)] == [8, 16, 24, 32]
    assert [block.images.stop for block in im2col.blocks(12, 1, 2**16)] == [12]
    assert [block.size for block in im2col.blocks(3, 5, 1)] == [(3, 5)]


@pytest.mark.parametrize("case", CASES)
def test_both_gradients_at_once_have_the_bits_of_one_after_the_other(device: Device, case: str) -> None:
    x_shape, w_shape, geometry = CASES[case]
    x, w, b, dy = checks.on(device, *_arrays(x_shape, w_shape, geometry))
    _, saved = convolution(x, w, b, RELU, geometry)
    dx = convolution_input_gradient(dy, saved, w, RELU, geometry, x.shape, 1.25)
    for with_bias in (True, False):
        one, other = ((empty_like(w), empty_like(b) if with_bias else None) for _ in range(2))
        convolution_kernel_gradient(x, dy, saved, RELU, geometry, *one, 1.25)
        checks.assert_same_bits(convolution_gradients(x, dy, saved, w, RELU, geometry, *other, 1.25), dx)
        for actual, expected in zip(other, one, strict=True):
            if actual is not None and expected is not None:
                checks.assert_same_bits(actual, expected)


@pytest.mark.parametrize("activation", [RELU, Activation.GELU])
def test_gradients_against_differences(device: Device, activation: Activation) -> None:
    x_shape, w_shape = (2, 6, 5, 4), (3, 2, 2, 4)
    geometry = Geometry((2, 1), (1, 2), ((1, 0), (1, 2)), 2)
    x, w, b, dy = arrays = _arrays(x_shape, w_shape, geometry, dtype=np.float64)
    _, dx, dw, db = _run(device, arrays, geometry, activation)

    def value(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
        y, _ = convolution(*checks.on(device, x, w, b), activation, geometry)
        return float((dy * checks.host(y)).sum())

    checks.assert_gradient(lambda x: value(x, w, b), x, dx)
    checks.assert_gradient(lambda w: value(x, w, b), w, dw)
    checks.assert_gradient(lambda b: value(x, w, b), b, db)


@pytest.mark.parametrize("case", ["all at once", "one channel"])
def test_same_bits_at_every_run(device: Device, case: str) -> None:
    arrays, geometry = _arrays(*CASES[case]), CASES[case][2]
    first = _run(device, arrays, geometry)
    for order in ("forward", "reverse", 5):  # of the threads, on device emulated
        with emulator.configured(order=order):
            for again, result in zip(_run(device, arrays, geometry), first, strict=True):
                checks.assert_same_bits(again, result)


def test_infinities_stay_where_they_belong(device: Device) -> None:
    """The zeros that fill up tiles must not meet an infinity: their product would be NaN."""
    x, _, _, dy = arrays = _arrays(*CASES["plain"])
    x[0, 0, 0, 0] = dy[0, 1, 1, 0] = np.inf
    geometry = CASES["plain"][2]
    with np.errstate(invalid="ignore"):
        expected = _expected(_in_double(arrays), geometry, LINEAR)
        results = _run(device, arrays, geometry, LINEAR)
    for result, exact in zip(results, expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(checks.host(result)), np.isfinite(exact))


def test_no_multiplication_meets_a_zero_between_windows(device: Device) -> None:
    """An infinite tap reaches the pixels of its phase only: 0 times infinity would be NaN."""
    x_shape, w_shape, geometry = (2, 9, 12, 2), (3, 3, 2, 3), Geometry((2, 3), (1, 2), ((1, 0), (2, 1)))
    _, w, _, dy = _arrays(x_shape, w_shape, geometry)
    for r, s in np.ndindex(3, 3):
        infinite = w.copy()
        infinite[r, s] = np.inf
        with np.errstate(invalid="ignore"):  # in the pixels of the phase, and in the padding
            gradient = convolution_input_gradient(*checks.on(device, dy, dy, infinite), LINEAR, geometry, x_shape)
        h, v = np.ix_((np.arange(9) + 1 - r) % 2, (np.arange(12) + 2 - 2 * s) % 3)
        finite = np.isfinite(checks.host(gradient))
        assert finite[:, (h != 0) | (v != 0)].all()
        assert not finite.all()


def test_a_1_x_1_convolution_is_a_dense_layer_of_pixels(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launches are those of dense.cu, and give the bits of convolution.cu, split sums included."""
    arrays = _arrays((2, 18, 17, 36), (1, 1, 36, 8), Geometry())
    with checks.recorded_launches() as launches:
        results = _run(device, arrays, Geometry())
    monkeypatch.setattr(Sizes, "is_dense", False)
    with checks.recorded_launches() as others:
        expected = _run(device, arrays, Geometry())
    for result, other in zip(results, expected, strict=True):
        checks.assert_same_bits(result, other)
    if device.kind is not Kind.CPU:
        assert {launch.file for launch in launches} == {"dense.cu", "finish.cu"}
        assert {launch.file for launch in others} == {"convolution.cu", "finish.cu"}


def test_arrays_that_are_not_contiguous(device: Device) -> None:
    arrays = _arrays(*CASES["all at once"])
    geometry = CASES["all at once"][2]
    x, w, b, dy = (array[..., ::2] for array in checks.on(device, *(np.repeat(a, 2, axis=-1) for a in arrays)))
    y, saved = convolution(x, w, b, RELU, geometry)
    dx = convolution_input_gradient(dy, saved, w, RELU, geometry, x.shape)
    dw, db = empty_like(w), empty_like(b)
    convolution_kernel_gradient(x, dy, saved, RELU, geometry, dw, db)
    for result, expected in zip((y, dx, dw, db), _expected(_in_double(arrays), geometry), strict=True):
        np.testing.assert_allclose(checks.host(result), expected, rtol=1e-4, atol=1e-5)
