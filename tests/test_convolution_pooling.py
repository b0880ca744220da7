"""Convolution and max-pooling by 2 x 2 as one op: values, winners and gradients, on every tile.

The kernels are convolution_pooling.cu and convolution_pooling_gradient.cu.
"""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend import emulator
from gpunet.backend.arrays import Device, empty_like
from gpunet.ops import convolution_direct, im2col, tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_input_gradient, convolution_kernel_gradient
from gpunet.ops.convolution_pooling import (
    LONGEST_SUM,
    convolution_pooling,
    convolution_pooling_gradients,
    convolution_pooling_input_gradient,
    convolution_pooling_kernel_gradient,
    convolution_pooling_value,
)
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.pooling import max_pooling, max_pooling_gradient

RELU, LINEAR, GELU = Activation.RELU, Activation.LINEAR, Activation.GELU

# Shapes of x and w, geometry, padding of the pooling. (P, Q) is the size of the convolution's output.
CASES = {
    "even": ((2, 8, 6, 3), (3, 3, 3, 5), Geometry(), "valid"),  # (6, 4)
    "odd rows and columns, valid": ((2, 7, 9, 3), (3, 3, 3, 5), Geometry(), "valid"),  # (5, 7)
    "odd rows and columns, same": ((2, 7, 9, 3), (3, 3, 3, 5), Geometry(), "same"),
    "odd rows": ((1, 5, 6, 2), (3, 3, 2, 4), Geometry(), "same"),  # (3, 4)
    "odd columns": ((1, 6, 5, 2), (3, 3, 2, 4), Geometry(), "same"),  # (4, 3)
    "one pixel": ((2, 1, 1, 1), (1, 1, 1, 1), Geometry(), "same"),
    "one window": ((1, 3, 3, 1), (2, 2, 1, 1), Geometry(), "valid"),
    "padding": ((2, 6, 7, 1), (3, 3, 1, 4), Geometry(pads=((1, 1), (0, 2))), "same"),
    "strides": ((2, 9, 11, 2), (3, 3, 2, 3), Geometry((2, 3)), "same"),
    "dilation": ((1, 12, 9, 2), (3, 2, 2, 3), Geometry(dilation=(3, 4)), "valid"),
    "all at once": ((2, 13, 12, 6), (3, 2, 2, 9), Geometry((2, 3), (2, 1), ((2, 1), (0, 3)), 3), "same"),
    "depthwise": ((2, 6, 5, 7), (3, 3, 1, 7), Geometry(pads=((1, 1), (1, 1)), groups=7), "valid"),
}

# Rows (four a window) and filters near the edges of the forward's tiles: shapes of x and w.
EDGES = {
    tiles.SMALL: [((1, 5, 6, 3), (2, 2, 3, 33)), ((1, 4, 8, 2), (1, 2, 2, 32))],
    tiles.NARROW: [((1, 6, 8, 2), (1, 1, 2, 31)), ((1, 8, 8, 5), (1, 1, 5, 32)), ((5, 9, 9, 2), (3, 3, 2, 17))],
    tiles.TALL: [((9, 31, 33, 2), (1, 1, 2, 31)), ((8, 32, 32, 5), (1, 1, 5, 32))],
    tiles.MEDIUM: [((1, 6, 10, 2), (1, 1, 2, 65)), ((1, 8, 8, 5), (1, 1, 5, 64)), ((3, 10, 9, 4), (3, 3, 4, 63))],
    tiles.LARGE: [((9, 31, 33, 2), (1, 1, 2, 129)), ((8, 32, 32, 3), (1, 1, 3, 128))],
}


def _arrays(x_shape: Any, w_shape: Any, geometry: Geometry, padding: str, dtype: type = np.float32) -> Any:
    """Return x, w, b, dy."""
    x, w, b = (checks.normal(*s, seed=i, dtype=dtype) for i, s in enumerate([x_shape, w_shape, w_shape[3:]]))
    shape = oracle.convolution_z(x, w, b, **vars(geometry)).shape
    dy = checks.normal(*oracle.pooled_shape(shape, (2, 2), (2, 2), padding), seed=3, dtype=dtype)
    return x, w, b, dy


def _gradients(device: Device, arrays: Any, compute: Any) -> tuple[Any, Any]:
    """Return (dw, db) that `compute` writes."""
    _, w, b, _ = arrays
    dw, db = checks.on(device, np.empty_like(w), None if b is None else np.empty_like(b))
    compute(dw, db)
    return dw, db


def _run(device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation = RELU) -> Any:
    """Return winner, y, dx, dw, db."""
    x, w, b, dy = checks.on(device, *arrays)
    how = activation, geometry, padding
    y, saved, winner = convolution_pooling(x, w, b, *how)
    dx = convolution_pooling_input_gradient(dy, saved, winner, w, *how, x.shape)
    dw, db = _gradients(
        device, arrays, lambda dw, db: convolution_pooling_kernel_gradient(x, dy, saved, winner, *how, dw, db)
    )
    for array, before in zip((x, w, b, dy), arrays, strict=True):
        if before is not None:
            checks.assert_same_bits(array, before)
    return winner, y, dx, dw, db


def _one_after_the_other(
    device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation = RELU
) -> Any:
    """Return what `_run` does, by way of the convolution's whole output."""
    x, w, b, dy = checks.on(device, *arrays)
    f, saved = convolution(x, w, b, activation, geometry)
    y, winner = max_pooling(f, 2, 2, padding)
    df = max_pooling_gradient(dy, winner, 2, 2, padding, f.shape)
    dx = convolution_input_gradient(df, saved, w, activation, geometry, x.shape)
    dw, db = _gradients(
        device, arrays, lambda dw, db: convolution_kernel_gradient(x, df, saved, activation, geometry, dw, db)
    )
    return checks.host(winner).astype(np.uint8), y, dx, dw, db


def _expected(arrays: Any, geometry: Geometry, padding: str, activation: Activation, winner: Any = None) -> Any:
    x, w, b, dy = arrays
    how = activation.value, padding
    y, own_winner = oracle.convolution_pooling(x, w, b, *how, **vars(geometry))
    winner = own_winner if winner is None else winner
    return winner, y, *oracle.convolution_pooling_gradients(x, w, b, dy, winner, *how, **vars(geometry))


def _in_double(arrays: Any) -> Any:
    return tuple(None if array is None else array.astype(np.float64) for array in arrays)


def _check(device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation = RELU) -> None:
    winner, *results = _run(device, arrays, geometry, padding, activation)
    winners, *exact = _expected(_in_double(arrays), geometry, padding, activation)
    _, *plain = _expected(arrays, geometry, padding, activation, winners)
    checks.assert_same_bits(winner, winners.astype(np.uint8))
    for result, exact_result, plain_result in zip(results, exact, plain, strict=True):
        if result is not None:
            checks.assert_as_exact_as_plain(result, exact_result, plain_result)


def _check_in_double(device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation) -> None:
    winner, *results = _run(device, arrays, geometry, padding, activation)
    winners, *exact = _expected(arrays, geometry, padding, activation)
    checks.assert_same_bits(winner, winners.astype(np.uint8))
    for result, exact_result in zip(results, exact, strict=True):
        checks.assert_close_in_double(result, exact_result)


def _check_same_bits(device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation) -> None:
    together = _run(device, arrays, geometry, padding, activation)
    apart = _one_after_the_other(device, arrays, geometry, padding, activation)
    for one, other in zip(together, apart, strict=True):
        if other is not None:
            checks.assert_same_bits(one, other)


@pytest.mark.parametrize("case", CASES)
def test_cases(device: Device, case: str) -> None:
    _check(device, _arrays(*CASES[case]), *CASES[case][2:])


@pytest.mark.parametrize("case", CASES)
def test_cases_in_double(device: Device, case: str) -> None:
    _check_in_double(device, _arrays(*CASES[case], dtype=np.float64), *CASES[case][2:], RELU)


@st.composite
def cases(draw: st.DrawFn) -> Any:
    """Draw a case whose convolution has an output of 2 x 2 at least."""
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2))
    strides, dilation = ((draw(st.integers(1, 3)), draw(st.integers(1, 3))) for _ in range(2))
    size = [draw(st.integers(strides[i] + 1, 10)) for i in range(2)]
    room = [(size[i] + sum(pads[i]) - strides[i] - 1) // dilation[i] + 1 for i in range(2)]
    kernel = [draw(st.integers(1, min(room[i], 4))) for i in range(2)]
    groups, channels, filters = (draw(st.integers(1, 3)) for _ in range(3))
    x_shape = draw(st.integers(1, 3)), *size, channels * groups
    geometry = Geometry(strides, dilation, pads, groups)  # type: ignore[arg-type]
    return x_shape, (*kernel, channels, filters * groups), geometry, draw(st.sampled_from(["valid", "same"]))


@given(case=cases())
def test_any_geometry(device: Device, case: Any) -> None:
    _check_in_double(device, _arrays(*case, dtype=np.float64), *case[2:], RELU)


@pytest.mark.parametrize("tile", EDGES, ids=["small", "narrow", "tall", "medium", "large"])
def test_edges_of_every_tile(device: Device, tile: tiles.Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where channels are few, which tests/test_convolution_direct_pooling.py is about."""
    monkeypatch.setattr(convolution_direct, "has_few_channels", lambda sizes: False)
    padding = "same"
    for x_shape, w_shape in EDGES[tile]:
        arrays = _arrays(x_shape, w_shape, Geometry(), padding)
        n, u, v, filters = arrays[3].shape
        assert tiles.choose_tile(4 * n * u * v, filters, np.float32) == tile
        _check(device, arrays, Geometry(), padding)
        _check_same_bits(device, arrays, Geometry(), padding, RELU)


@pytest.mark.parametrize("activation", Activation)
def test_activations(device: Device, activation: Activation) -> None:
    x, w, b, dy = _arrays(*CASES["odd rows and columns, same"])
    _check(device, (x, w / 5, b, dy), Geometry(), "same", activation)  # z near 0, where winners are beyond doubt


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [LINEAR, RELU, GELU])
def test_the_bits_are_those_of_one_after_the_other(device: Device, activation: Activation, dtype: type) -> None:
    for case in ("odd rows and columns, valid", "odd rows and columns, same", "all at once"):
        _check_same_bits(device, _arrays(*CASES[case], dtype=dtype), *CASES[case][2:], activation)


def test_split_gradients_and_the_longest_sums(device: Device) -> None:
    """The gradients of the kernel (576 pixels) and of the input (540 terms) are split, as without pooling."""
    geometry = Geometry(pads=((1, 1), (1, 1)))
    x_shape, w_shape = (1, 24, 24, 56), (3, 3, 56, 60)
    assert LONGEST_SUM == 511 >= 3 * 3 * 56
    assert tiles.plan(3 * 3 * 56, 60, 24 * 24, np.float32).splits > 1
    assert tiles.plan(24 * 24, 56, 3 * 3 * 60, np.float32).splits > 1
    x, w, b, dy = _arrays(x_shape, w_shape, geometry, "same")
    arrays = x, w / 20, b, dy
    _check(device, arrays, geometry, "same")
    _check_same_bits(device, arrays, geometry, "same", RELU)
    one_by_one = _arrays((2, 4, 4, LONGEST_SUM), (1, 1, LONGEST_SUM, 3), Geometry(), "valid")
    _check_same_bits(device, one_by_one, Geometry(), "valid", RELU)


@pytest.mark.parametrize("case", CASES)
def test_both_gradients_at_once_have_the_bits_of_one_after_the_other(device: Device, case: str) -> None:
    x_shape, w_shape, geometry, padding = CASES[case]
    x, w, b, dy = checks.on(device, *_arrays(x_shape, w_shape, geometry, padding))
    for activation in (RELU, GELU):
        how = activation, geometry, padding
        _, saved, winner = convolution_pooling(x, w, b, *how)
        dx = convolution_pooling_input_gradient(dy, saved, winner, w, *how, x.shape)
        dw, db = empty_like(w), empty_like(b)
        convolution_pooling_kernel_gradient(x, dy, saved, winner, *how, dw, db)
        both = empty_like(w), empty_like(b)
        checks.assert_same_bits(convolution_pooling_gradients(x, dy, saved, winner, w, *how, *both), dx)
        checks.assert_same_bits(both[0], dw)
        checks.assert_same_bits(both[1], db)


@pytest.mark.parametrize("activation", [RELU, LINEAR, GELU, Activation.TANH])
def test_the_value_alone_has_the_same_bits(device: Device, activation: Activation) -> None:
    for case in CASES:
        x, w, b = checks.on(device, *_arrays(*CASES[case])[:3])
        how = (activation, *CASES[case][2:])
        y, _, _ = convolution_pooling(x, w, b, *how)
        checks.assert_same_bits(convolution_pooling_value(x, w, b, *how), y)


def test_without_bias(device: Device) -> None:
    for case in ("even", "padding", "all at once"):
        x, w, _, dy = _arrays(*CASES[case])
        assert _run(device, (x, w, None, dy), *CASES[case][2:])[-1] is None
        _check(device, (x, w, None, dy), *CASES[case][2:])


def test_batches_and_images_larger_than_the_cpu_takes_at_once(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of whole images, and of pairs of rows of one image; the last row is a block of its own."""
    for x_shape, w_shape, largest, rows in [
        ((11, 22, 22, 8), (3, 3, 8, 8), 2**19, {20}),
        ((2, 27, 60, 19), (3, 3, 19, 3), 2**16, {2, 1}),
    ]:
        monkeypatch.setattr(im2col, "_LARGEST_BLOCK", largest)
        for padding in ("valid", "same"):
            arrays = _arrays(x_shape, w_shape, Geometry(), padding)
            p, q = x_shape[1] - 2, x_shape[2] - 2
            cut = im2col.blocks(x_shape[0], p, q * 9 * w_shape[2] * 4)
            assert len(cut) > 2 and {block.size[1] for block in cut} == rows
            _check(device, arrays, Geometry(), padding)
            _check_same_bits(device, arrays, Geometry(), padding, RELU)


def test_no_multiplication_meets_a_zero_between_windows(device: Device) -> None:
    """An infinite tap reaches the pixels of its phase only: 0 times infinity would be NaN."""
    geometry = Geometry((2, 3), (1, 2), ((1, 0), (2, 1)))
    x, w, b, dy = _arrays((2, 9, 12, 2), (3, 3, 2, 3), geometry, "same")
    x, b, dy = checks.on(device, x, b, dy)
    _, saved, winner = convolution_pooling(x, checks.on(device, w), b, LINEAR, geometry, "same")
    w[1, 2] = np.inf
    w, how = checks.on(device, w), (LINEAR, geometry, "same", x.shape)
    with np.errstate(invalid="ignore"):  # in the pixels of the phase
        finite = np.isfinite(checks.host(convolution_pooling_input_gradient(dy, saved, winner, w, *how)))
    h, v = np.ix_((np.arange(9) + 1 - 1) % 2, (np.arange(12) + 2 - 4) % 3)
    assert finite[:, (h != 0) | (v != 0)].all()
    assert not finite.all()


@pytest.mark.parametrize("activation", [Activation.TANH, GELU])
def test_gradients_against_differences(device: Device, activation: Activation) -> None:
    geometry = Geometry((2, 1), (1, 2), ((1, 0), (1, 2)), 2)
    x, w, b, dy = arrays = _arrays((2, 6, 5, 4), (3, 2, 2, 4), geometry, "same", dtype=np.float64)
    _, _, dx, dw, db = _run(device, arrays, geometry, "same", activation)

    def value(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
        y, _, _ = convolution_pooling(*checks.on(device, x, w, b), activation, geometry, "same")
        return float((dy * checks.host(y)).sum())

    checks.assert_gradient(lambda x: value(x, w, b), x, dx)
    checks.assert_gradient(lambda w: value(x, w, b), w, dw)
    checks.assert_gradient(lambda b: value(x, w, b), b, db)


ONE = np.ones((1, 1, 1, 1), np.float32)  # filters that leave an image as it is


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_first_of_equal_maxima_wins(device: Device, padding: str) -> None:
    x, w, b, dy = _arrays((3, 7, 7, 2), (2, 2, 2, 5), Geometry(), padding)
    arrays = np.sign(x), np.sign(w), np.zeros_like(b), dy
    winner, *_ = _run(device, arrays, Geometry(), padding)
    winners, *_ = _expected(arrays, Geometry(), padding, RELU)
    checks.assert_same_bits(winner, winners.astype(np.uint8))
    assert set(np.unique(winners)) == {0, 1, 2, 3}


def test_a_nan_is_greater_than_any_number(device: Device) -> None:
    x = np.float32([[1, np.nan, 3, np.inf, 1], [np.nan, 2, -np.inf, -np.inf, np.nan]]).reshape(1, 2, 5, 1)
    y, _, winner = convolution_pooling(*checks.on(device, x, ONE), None, LINEAR, Geometry(), "same")
    np.testing.assert_array_equal(checks.host(y).ravel(), [np.nan, np.inf, np.nan])
    assert checks.host(winner).ravel().tolist() == [1, 1, 2]


def test_a_nan_leaves_other_windows_their_winners(device: Device) -> None:
    """Of a window in which ReLU leaves nothing but zeros the first element wins, beside a NaN too."""
    x = np.float32([[-2, -1, 5, 7], [-3, -4, np.nan, 6]]).reshape(1, 2, 4, 1)
    y, _, winner = convolution_pooling(*checks.on(device, x, ONE), None, RELU, Geometry(), "valid")
    np.testing.assert_array_equal(checks.host(y).ravel(), [0, np.nan])
    assert checks.host(winner).ravel().tolist() == [0, 2]


def test_minus_infinity_is_a_maximum_too(device: Device) -> None:
    """A window of nothing else has its first element as winner; what lies outside takes no part."""
    x = np.full((1, 3, 3, 1), -np.inf, np.float32)
    y, _, winner = convolution_pooling(*checks.on(device, x, ONE), None, LINEAR, Geometry(), "same")
    assert (checks.host(y) == -np.inf).all() and not checks.host(winner).any()


def test_infinite_gradients_stay_where_they_belong(device: Device) -> None:
    x, _, _, dy = _arrays(*CASES["one window"])
    y, saved, winner = convolution_pooling(*checks.on(device, x[:, :2, :2], ONE), None, LINEAR, Geometry(), "valid")
    dy = checks.on(device, np.full_like(dy, np.inf))
    how = LINEAR, Geometry(), "valid", (1, 2, 2, 1)
    dx = convolution_pooling_input_gradient(dy, saved, winner, checks.on(device, ONE), *how)
    assert checks.host(dx).ravel()[checks.host(winner).item()] == np.inf
    assert np.isfinite(checks.host(dx)).sum() == 3 and y.size == 1


@pytest.mark.parametrize("case", ["all at once", "padding"])
def test_same_bits_at_every_run(device: Device, case: str) -> None:
    arrays = _arrays(*CASES[case])
    first = _run(device, arrays, *CASES[case][2:])
    for order in ("forward", "reverse", 5):  # of the threads, on device emulated
        with emulator.configured(order=order):
            for again, result in zip(_run(device, arrays, *CASES[case][2:]), first, strict=True):
                checks.assert_same_bits(again, result)


def test_arrays_that_are_not_contiguous(device: Device) -> None:
    case = CASES["all at once"]
    arrays = _arrays(*case)
    winner, *expected = _run(device, arrays, *case[2:])
    x, w, b, dy = (array[..., ::2] for array in checks.on(device, *(np.repeat(a, 2, axis=-1) for a in arrays)))
    y, saved, winner = (array[..., :] for array in convolution_pooling(x, w, b, RELU, *case[2:]))
    saved, winner = (checks.on(device, np.repeat(checks.host(a), 2, axis=-1))[..., ::2] for a in (saved, winner))
    dx = convolution_pooling_input_gradient(dy, saved, winner, w, RELU, *case[2:], x.shape)
    dw, db = _gradients(
        device,
        arrays,
        lambda dw, db: convolution_pooling_kernel_gradient(x, dy, saved, winner, RELU, *case[2:], dw, db),
    )
    for result, other in zip((y, dx, dw, db), expected, strict=True):
        checks.assert_same_bits(result, other)
