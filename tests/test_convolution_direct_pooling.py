"""Max-pooling behind a convolution with few channels, by a kernel of its own (gpunet/ops/convolution_direct.py).

Its results are held to those of kernels/convolution_pooling.cu and to the oracle. The gradients are in
tests/test_convolution_direct.py.
"""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Array, Device
from gpunet.ops import convolution_direct
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_pooling import convolution_pooling, convolution_pooling_value
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.tiles import Run

RELU, LINEAR, GELU = Activation.RELU, Activation.LINEAR, Activation.GELU
SAME = Geometry(pads=((1, 1), (1, 1)))

# Shapes of x and w, geometry, padding of the pooling. (P, Q) is the size of the convolution's output.
CASES = {
    "one pixel": ((2, 1, 1, 1), (1, 1, 1, 1), Geometry((2, 2)), "same"),  # (1, 1)
    "one window": ((1, 3, 3, 1), (2, 2, 1, 1), Geometry(), "valid"),  # (2, 2)
    "first layer of digits": ((3, 14, 12, 1), (3, 3, 1, 32), SAME, "valid"),  # (14, 12): 126 windows, in 4 blocks
    "first layer of photographs": ((2, 18, 15, 3), (3, 3, 3, 16), Geometry((2, 2), pads=((0, 1), (1, 0))), "same"),
    "odd rows and columns, valid": ((2, 9, 11, 2), (3, 3, 2, 8), Geometry(), "valid"),  # (7, 9)
    "odd rows and columns, same": ((2, 9, 11, 2), (3, 3, 2, 8), Geometry(), "same"),
    "odd rows": ((1, 5, 6, 1), (3, 3, 1, 4), Geometry(), "same"),  # (3, 4)
    "odd columns": ((1, 6, 5, 1), (3, 3, 1, 4), Geometry(), "same"),  # (4, 3)
    "more than 32 filters": ((1, 8, 7, 1), (2, 2, 1, 44), Geometry(), "same"),  # (7, 6)
    "most taps, uneven filters": ((2, 6, 5, 4), (3, 3, 4, 7), SAME, "same"),  # (6, 5)
    "all at once": ((2, 13, 12, 2), (3, 2, 2, 5), Geometry((2, 3), (2, 1), ((2, 1), (0, 3))), "same"),  # (6, 5)
    "padding beyond the image": ((1, 2, 1, 2), (3, 3, 2, 2), Geometry(pads=((4, 3), (5, 4))), "valid"),  # (7, 8)
}
DIGITS, EDGES = "first layer of digits", "odd rows and columns, same"
AS_IT_IS = Geometry(dilation=(2, 2))  # with one tap; without dilation it would be a Dense layer


def _arrays(case: str, dtype: type = np.float32) -> Any:
    """Return x, w, b."""
    x_shape, w_shape = CASES[case][:2]
    return tuple(checks.normal(*s, seed=i, dtype=dtype) for i, s in enumerate([x_shape, w_shape, w_shape[3:]]))


def _run(
    device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation = RELU
) -> tuple[Array, Array, Array]:
    """Return y, saved and winner."""
    with checks.recorded_launches() as launches:
        results = convolution_pooling(*checks.on(device, *arrays), activation, geometry, padding)
    assert [launch.entry for launch in launches] == ([] if device == CPU else ["convolution_few_channels_pooling"])
    return results


def _as_matrix_product(
    device: Device, arrays: Any, geometry: Geometry, padding: str, activation: Activation = RELU
) -> tuple[Array, Array, Array]:
    with pytest.MonkeyPatch.context() as patch, checks.recorded_launches() as launches:
        patch.setattr(convolution_direct, "has_few_channels", lambda sizes: False)
        results = convolution_pooling(*checks.on(device, *arrays), activation, geometry, padding)
    assert [launch.entry for launch in launches] == ([] if device == CPU else ["convolution_pooling"])
    return results


def _check_same_bits(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        checks.assert_same_bits(one, other)


@pytest.mark.parametrize("case", CASES)
def test_cases(device: Device, case: str) -> None:
    arrays, (geometry, padding) = _arrays(case), CASES[case][2:]
    y, _, winner = _run(device, arrays, geometry, padding)
    in_double = tuple(array.astype(np.float64) for array in arrays)
    exact, winners = oracle.convolution_pooling(*in_double, "relu", padding, **vars(geometry))
    plain, _ = oracle.convolution_pooling(*arrays, "relu", padding, **vars(geometry))
    checks.assert_as_exact_as_plain(y, exact, plain)
    checks.assert_same_bits(winner, winners.astype(np.uint8))


@pytest.mark.parametrize("case", CASES)
def test_cases_in_double(device: Device, case: str) -> None:
    arrays, (geometry, padding) = _arrays(case, np.float64), CASES[case][2:]
    y, _, winner = _run(device, arrays, geometry, padding)
    exact, winners = oracle.convolution_pooling(*arrays, "relu", padding, **vars(geometry))
    checks.assert_close_in_double(y, exact)
    checks.assert_same_bits(winner, winners.astype(np.uint8))


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_a_matrix_product(device: Device, case: str) -> None:
    how = CASES[case][2:]
    x, w, b = _arrays(case)
    for arrays in ((x, w, b), (x, w, None)):
        _check_same_bits(_run(device, arrays, *how), _as_matrix_product(device, arrays, *how))


@pytest.mark.parametrize("case", [DIGITS, EDGES])
@pytest.mark.parametrize("activation", [LINEAR, GELU])
def test_activations(device: Device, case: str, activation: Activation) -> None:
    """GELU saves the z whose y is the maximum, which need not be the greatest z."""
    arrays, how = _arrays(case), (*CASES[case][2:], activation)
    _check_same_bits(_run(device, arrays, *how), _as_matrix_product(device, arrays, *how))


@pytest.mark.parametrize("activation", [RELU, GELU])
def test_the_value_alone_has_the_same_bits(device: Device, activation: Activation) -> None:
    for case in (DIGITS, EDGES):
        arrays, (geometry, padding) = _arrays(case), CASES[case][2:]
        y, _, _ = _run(device, arrays, geometry, padding, activation)
        alone = convolution_pooling_value(*checks.on(device, *arrays), activation, geometry, padding)
        checks.assert_same_bits(alone, y)


def test_loads_of_any_width_give_the_same_bits(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, how = _arrays(DIGITS), CASES[DIGITS][2:]
    with checks.recorded_launches() as launches:
        wide = _run(device, arrays, *how)
    monkeypatch.setattr(Run, "width", 1)
    _check_same_bits(_run(device, arrays, *how), wide)
    assert all("-DWIDTH=4" in launch.options for launch in launches)


def test_a_bias_that_is_not_aligned(device: Device) -> None:
    (x, w, b), how = _arrays(DIGITS), CASES[DIGITS][2:]
    expected = _run(device, (x, w, b), *how)
    placed = checks.on(device, np.concatenate((np.zeros(1, np.float32), b)))[1:]
    geometry, padding = how
    with checks.recorded_launches() as launches:
        found = convolution_pooling(*checks.on(device, x, w), placed, RELU, geometry, padding)
    _check_same_bits(found, expected)
    assert all("-DWIDTH=1" in launch.options for launch in launches)


def test_arrays_that_are_not_contiguous(device: Device) -> None:
    arrays, (geometry, padding) = _arrays("all at once"), CASES["all at once"][2:]
    spread = (array[..., ::2] for array in checks.on(device, *(np.repeat(a, 2, axis=-1) for a in arrays)))
    found = convolution_pooling(*spread, RELU, geometry, padding)
    _check_same_bits(found, _run(device, arrays, geometry, padding))


@pytest.mark.parametrize("case", [DIGITS, "all at once"])
def test_same_bits_in_any_order_of_threads(device: Device, case: str) -> None:
    arrays, how = _arrays(case), CASES[case][2:]
    first = _run(device, arrays, *how)
    for order in ("forward", "reverse", 5):  # on device emulated
        with emulator.configured(order=order):
            _check_same_bits(_run(device, arrays, *how), first)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_first_of_equal_maxima_wins(device: Device, padding: str) -> None:
    x, w, b = (np.sign(array) for array in _arrays(EDGES))
    _, _, winner = _run(device, (x, w, b), Geometry(), padding)
    _, winners = oracle.convolution_pooling(x, w, b, "relu", padding)
    checks.assert_same_bits(winner, winners.astype(np.uint8))
    assert set(np.unique(winners)) == {0, 1, 2, 3}


def _on_one_tap(device: Device, rows: list[list[float]], activation: Activation, padding: str) -> Any:
    """Return y and winner for an image of those `rows`, which the filter leaves as it is."""
    x, one = np.float32(rows)[None, :, :, None], np.ones((1, 1, 1, 1), np.float32)
    y, _, winner = checks.host(*_run(device, (x, one, None), AS_IT_IS, padding, activation))
    return y.ravel().tolist(), winner.ravel().tolist()


def test_a_nan_is_greater_than_any_number(device: Device) -> None:
    nan, inf = np.nan, np.inf
    y, winner = _on_one_tap(device, [[1, nan, 3, inf, 1], [nan, 2, -inf, -inf, nan]], LINEAR, "same")
    np.testing.assert_array_equal(y, [nan, inf, nan])
    assert winner == [1, 1, 2]


def test_a_nan_leaves_other_windows_their_winners(device: Device) -> None:
    """Of a window in which ReLU leaves nothing but zeros the first element wins, beside a NaN too."""
    y, winner = _on_one_tap(device, [[-2, -1, 5, 7], [-3, -4, np.nan, 6]], RELU, "valid")
    np.testing.assert_array_equal(y, [0, np.nan])
    assert winner == [0, 2]


def test_minus_infinity_is_a_maximum_too(device: Device) -> None:
    """A window of nothing else has its first element as winner; what lies outside takes no part."""
    assert _on_one_tap(device, [[-np.inf] * 3] * 3, LINEAR, "same") == ([-np.inf] * 4, [0] * 4)


def test_negative_maxima_beside_what_lies_outside(device: Device) -> None:
    """The zeros of pixels that are not there must not win."""
    assert _on_one_tap(device, [[-1, -2, -3]] * 3, LINEAR, "same") == ([-1, -3, -1, -3], [0] * 4)
