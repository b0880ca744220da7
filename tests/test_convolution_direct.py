"""Convolutions with few channels or small groups, by kernels of their own (gpunet/ops/convolution_direct.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import checks
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Array, Device, empty_like
from gpunet.ops import convolution_direct
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_input_gradient, convolution_kernel_gradient
from gpunet.ops.convolution_pooling import convolution_pooling, convolution_pooling_kernel_gradient
from gpunet.ops.convolution_sizes import Geometry, sizes_of
from gpunet.ops.pooling import max_pooling, max_pooling_gradient
from gpunet.ops.tiles import Run

RELU, LINEAR, GELU = Activation.RELU, Activation.LINEAR, Activation.GELU
SAME = Geometry(pads=((1, 1), (1, 1)))

# Shapes of x and w, geometry.
FEW_CHANNELS = {
    "one number": ((1, 1, 1, 1), (1, 1, 1, 1), Geometry((2, 2))),
    "first layer of digits": ((2, 13, 12, 1), (3, 3, 1, 32), SAME),
    "first layer of photographs": ((1, 17, 15, 3), (3, 3, 3, 16), Geometry((2, 2), pads=((0, 1), (1, 0)))),
    "more than 32 filters": ((1, 6, 7, 1), (2, 2, 1, 44), Geometry()),
    "most taps, uneven filters": ((2, 6, 5, 4), (3, 3, 4, 7), SAME),
    "ten taps": ((1, 9, 8, 2), (5, 1, 2, 9), Geometry()),
    "all at once": ((2, 13, 12, 2), (3, 2, 2, 5), Geometry((2, 3), (2, 1), ((2, 1), (0, 3)))),
    "strides beyond the window": ((2, 11, 9, 2), (2, 1, 2, 4), Geometry((4, 3))),
    "padding beyond the image": ((1, 2, 1, 2), (3, 3, 2, 2), Geometry(pads=((4, 3), (5, 4)))),
}
GROUPED = {
    "depthwise": ((2, 9, 7, 8), (3, 3, 1, 8), Geometry(pads=((1, 1), (1, 1)), groups=8)),
    "depthwise, uneven channels": ((2, 6, 5, 7), (3, 3, 1, 7), Geometry(pads=((1, 1), (1, 1)), groups=7)),
    "depthwise, more than 32 channels": ((1, 5, 6, 36), (2, 2, 1, 36), Geometry(groups=36)),
    "depthwise, many taps": ((1, 10, 9, 4), (7, 7, 1, 4), Geometry(pads=((3, 3), (3, 3)), groups=4)),
    "depthwise, strides": ((2, 9, 11, 8), (3, 3, 1, 8), Geometry((2, 3), pads=((0, 1), (1, 1)), groups=8)),
    "depthwise, strides and dilation": ((1, 19, 18, 4), (3, 4, 1, 4), Geometry((4, 3), (2, 3), ((2, 1), (0, 3)), 4)),
    "depthwise, strides beyond the image": ((2, 3, 2, 4), (2, 1, 1, 4), Geometry((5, 7), groups=4)),
    "multiplier": ((1, 6, 5, 4), (3, 3, 1, 12), Geometry(groups=4)),
    "groups of 8 and 5": ((2, 5, 6, 16), (3, 2, 8, 10), Geometry((1, 2), pads=((1, 0), (0, 1)), groups=2)),
    "all at once": ((2, 13, 12, 6), (3, 2, 2, 9), Geometry((2, 3), (2, 1), ((2, 1), (0, 3)), 3)),
    "padding beyond the image": ((1, 2, 1, 4), (3, 3, 2, 2), Geometry(pads=((4, 3), (5, 4)), groups=2)),
}
CASES = {f"few channels: {name}": case for name, case in FEW_CHANNELS.items()} | {
    f"groups: {name}": case for name, case in GROUPED.items()
}
# What runs forward and, for dx and dw, back; dx of few channels, which a first layer seldom needs, is the GEMM's.
_ENTRIES = {
    False: ["convolution_few_channels", "convolution_input_gradient", "convolution_few_channels_kernel_gradient"],
    True: ["convolution_grouped", "convolution_grouped_input_gradient", "convolution_grouped_kernel_gradient"],
}
FIRST, DEPTHWISE, MULTIPLIER = "few channels: first layer of digits", "groups: depthwise", "groups: multiplier"


def _arrays(x_shape: Any, w_shape: Any, geometry: Geometry, dtype: type = np.float32) -> Any:
    """Return x, w, b, dy."""
    x, w, b = (checks.normal(*s, seed=i, dtype=dtype) for i, s in enumerate([x_shape, w_shape, w_shape[3:]]))
    dy = checks.normal(*oracle.convolution_z(x, w, b, **vars(geometry)).shape, seed=3, dtype=dtype)
    return x, w, b, dy


def _run(device: Device, arrays: Any, geometry: Geometry, activation: Activation = RELU) -> list[Array]:
    """Return y, dx, dw and, if there is a bias, db."""
    x, w, b, dy = checks.on(device, *arrays)
    y, saved = convolution(x, w, b, activation, geometry)
    dx = convolution_input_gradient(dy, saved, w, activation, geometry, x.shape)
    dw, db = empty_like(w), None if b is None else empty_like(b)
    convolution_kernel_gradient(x, dy, saved, activation, geometry, dw, db)
    return [y, dx, dw] if db is None else [y, dx, dw, db]


def _expected(arrays: Any, geometry: Geometry, activation: Activation = RELU) -> list[np.ndarray]:
    x, w, b, dy = arrays
    z = oracle.convolution_z(x, w, b, **vars(geometry))
    dz = dy * oracle.activation_derivative(activation.value, z)
    dx, dw, db = oracle.convolution_gradients(x, w, dz, **vars(geometry))
    y = oracle.activation(activation.value, z)
    return [y, dx, dw] if b is None else [y, dx, dw, db]


def _in_double(arrays: Any) -> Any:
    return tuple(None if array is None else array.astype(np.float64) for array in arrays)


def _check(device: Device, arrays: Any, geometry: Geometry, activation: Activation = RELU) -> list[str]:
    """Check all results, and which kernels gave them, whose names are returned."""
    exact, plain = _expected(_in_double(arrays), geometry, activation), _expected(arrays, geometry, activation)
    with checks.recorded_launches() as launches:
        results = _run(device, arrays, geometry, activation)
    for result, exact_result, plain_result in zip(results, exact, plain, strict=True):
        checks.assert_as_exact_as_plain(result, exact_result, plain_result)
    entries = [launch.entry for launch in launches]
    if device != CPU:
        assert [entry for entry in entries if entry != "finish"] == _ENTRIES[geometry.groups > 1]
    return entries


@contextmanager
def _without_direct_kernels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("has_few_channels", "has_small_groups"):
            patch.setattr(convolution_direct, name, lambda sizes: False)
        yield


@pytest.mark.parametrize("case", CASES)
def test_cases(device: Device, case: str) -> None:
    _check(device, _arrays(*CASES[case]), CASES[case][2])


@pytest.mark.parametrize("case", CASES)
def test_cases_in_double(device: Device, case: str) -> None:
    arrays, geometry = _arrays(*CASES[case], dtype=np.float64), CASES[case][2]
    for result, exact in zip(_run(device, arrays, geometry), _expected(arrays, geometry), strict=True):
        checks.assert_close_in_double(result, exact)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Geometry]:
    """Draw the shapes of x and w and a geometry that fit each other."""
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    strides, dilation = ((draw(st.integers(1, 6)), draw(st.integers(1, 4))) for _ in range(2))
    size = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    kernel = [draw(st.integers(1, min((size[i] + sum(pads[i]) - 1) // dilation[i] + 1, 4))) for i in range(2)]
    channels, filters, groups = draw(st.sampled_from([(1, 1, 4), (1, 1, 6), (1, 3, 2), (2, 2, 3), (1, 5, 1)]))
    geometry = Geometry(strides, dilation, pads, groups)  # type: ignore[arg-type]
    return (draw(st.integers(1, 3)), *size, channels * groups), (*kernel, channels, filters * groups), geometry


@given(case=geometries())
def test_any_geometry(device: Device, case: Any) -> None:
    arrays = _arrays(*case, dtype=np.float64)
    for result, exact in zip(_run(device, arrays, case[2]), _expected(arrays, case[2]), strict=True):
        checks.assert_close_in_double(result, exact)


@pytest.mark.parametrize("case", [*CASES, "taps of 511"])
def test_pixels_have_the_bits_of_a_matrix_product(device: Device, case: str) -> None:
    """y and dx, whose sums are in one order; the gradient of the filters adds up other slabs."""
    long = (1, 73, 7, 2), (73, 7, 1, 2), Geometry(groups=2)
    x_shape, w_shape, geometry = CASES.get(case, long)
    arrays = _arrays(x_shape, w_shape, geometry)
    results = _run(device, arrays, geometry)[:2]
    with _without_direct_kernels():
        expected = _run(device, arrays, geometry)[:2]
    for one, other in zip(results, expected, strict=True):
        checks.assert_same_bits(one, other)


@pytest.mark.parametrize("case", [FIRST, DEPTHWISE, MULTIPLIER])
@pytest.mark.parametrize("activation", [LINEAR, GELU])
def test_activations(device: Device, case: str, activation: Activation) -> None:
    _check(device, _arrays(*CASES[case]), CASES[case][2], activation)


@pytest.mark.parametrize("case", CASES)
def test_without_bias(device: Device, case: str) -> None:
    x, w, _, dy = _arrays(*CASES[case])
    _check(device, (x, w, None, dy), CASES[case][2])


@pytest.mark.parametrize("case", [FIRST, "few channels: most taps, uneven filters", DEPTHWISE, MULTIPLIER])
def test_same_bits_in_any_order_of_threads(device: Device, case: str) -> None:
    arrays, geometry = _arrays(*CASES[case]), CASES[case][2]
    first = _run(device, arrays, geometry)
    for order in ("forward", "reverse", 5):  # on device emulated
        with emulator.configured(order=order):
            for again, result in zip(_run(device, arrays, geometry), first, strict=True):
                checks.assert_same_bits(again, result)


@pytest.mark.parametrize("case", [FIRST, DEPTHWISE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loads_of_any_width_give_the_same_bits(
    device: Device, case: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, geometry = _arrays(*CASES[case], dtype=dtype), CASES[case][2]
    with checks.recorded_launches() as launches:
        wide = _run(device, arrays, geometry)
    monkeypatch.setattr(Run, "width", 1)
    for one, other in zip(_run(device, arrays, geometry), wide, strict=True):
        checks.assert_same_bits(one, other)
    direct = [launch for launch in launches if launch.file in _FILES]
    assert device == CPU or len(direct) >= 2
    assert all(f"-DWIDTH={16 // np.dtype(dtype).itemsize}" in launch.options for launch in direct)


_FILES = ("convolution_few_channels.cu", "convolution_grouped.cu")


@pytest.mark.parametrize("case", [FIRST, DEPTHWISE])
def test_an_array_that_is_not_aligned(device: Device, case: str) -> None:
    arrays, geometry = _arrays(*CASES[case]), CASES[case][2]
    expected = _run(device, arrays, geometry)
    for shifted in range(4):
        memory = [np.concatenate((np.zeros(int(i == shifted), np.float32), a.ravel())) for i, a in enumerate(arrays)]
        placed = [array[int(i == shifted) :] for i, array in enumerate(checks.on(device, *memory))]
        x, w, b, dy = (array.reshape(like.shape) for array, like in zip(placed, arrays, strict=True))
        y, saved = convolution(x, w, b, RELU, geometry)
        dw, db = empty_like(w), empty_like(b)
        convolution_kernel_gradient(x, dy, saved, RELU, geometry, dw, db)
        dx = convolution_input_gradient(dy, saved, w, RELU, geometry, x.shape)
        for one, other in zip((y, dx, dw, db), expected, strict=True):
            checks.assert_same_bits(one, other)


SLABS = {
    "one channel": ((2, 40, 41, 1), (3, 3, 1, 12), SAME),
    "three channels": ((2, 40, 41, 3), (3, 3, 3, 8), Geometry((1, 2))),
    "depthwise": ((2, 40, 41, 8), (3, 3, 1, 8), Geometry(pads=((1, 1), (1, 1)), groups=8)),
    "groups": ((2, 40, 41, 4), (3, 3, 2, 6), Geometry(groups=2)),
}


@pytest.mark.parametrize("case", SLABS)
@pytest.mark.parametrize("longest", [None, 8])
def test_slabs(device: Device, case: str, longest: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient is added up in slabs: for more blocks, or because a block's sums would get too long."""
    if longest is not None:
        monkeypatch.setattr(convolution_direct, "_ENOUGH_BLOCKS", 1)
        monkeypatch.setattr(convolution_direct, "_SHORTEST_SUM", 1)
        monkeypatch.setattr(convolution_direct, "_LONGEST_SUM", longest)
    entries = _check(device, _arrays(*SLABS[case]), SLABS[case][2])
    assert device == CPU or entries[-1] == "finish"


def test_chains_are_at_most_512_terms() -> None:
    for x, w, groups in [
        ((64, 1024, 1024, 1), (3, 3, 1, 32), 1),
        ((64, 512, 512, 3), (3, 3, 3, 200), 1),
        ((64, 1024, 1024, 4), (3, 3, 1, 4), 4),
        ((64, 512, 512, 96), (7, 7, 1, 96), 96),
        ((64, 512, 512, 96), (3, 3, 2, 96), 48),
    ]:
        sizes = sizes_of("test", x, w, Geometry(groups=groups))
        plan = convolution_direct.gradient_plan(sizes)
        pixels = sizes.y[0] * sizes.y[1] * sizes.y[2]
        assert plan.threads <= 256
        assert plan.slabs >= 256 / (plan.blocks / plan.slabs)
        assert pixels / plan.slabs / plan.pixel_lanes <= 512


@pytest.mark.parametrize("case", ["one channel", "depthwise"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooled_gradient_has_the_bits_of_one_after_the_other(device: Device, case: str, padding: str) -> None:
    """In several slabs; tests/test_convolution_pooling.py compares small ones."""
    (n, h, w_size, c), w_shape, geometry = SLABS[case]
    x, w, b, _ = checks.on(device, *_arrays((n, h - 1, w_size, c), w_shape, geometry))
    y, saved, winner = convolution_pooling(x, w, b, RELU, geometry, padding)
    dy = checks.on(device, checks.normal(*y.shape, seed=5))
    dw, db = empty_like(w), empty_like(b)
    convolution_pooling_kernel_gradient(x, dy, saved, winner, RELU, geometry, padding, dw, db)

    whole, saved = convolution(x, w, b, RELU, geometry)
    maxima, winner = max_pooling(whole, 2, 2, padding)
    checks.assert_same_bits(y, maxima)
    dz = max_pooling_gradient(dy, winner, 2, 2, padding, whole.shape)
    other_dw, other_db = empty_like(w), empty_like(b)
    convolution_kernel_gradient(x, dz, saved, RELU, geometry, other_dw, other_db)
    checks.assert_same_bits(dw, other_dw)
    checks.assert_same_bits(db, other_db)


@pytest.mark.parametrize("case", ["few channels: all at once", "groups: all at once"])
def test_infinities_stay_where_they_belong(device: Device, case: str) -> None:
    """The zeros that fill up strips and lanes must not meet an infinity: their product would be NaN."""
    x, _, _, dy = arrays = _arrays(*CASES[case])
    x[0, 1, 1, 0] = dy[0, 1, 1, 0] = np.inf
    with np.errstate(invalid="ignore"):
        expected = _expected(_in_double(arrays), CASES[case][2], LINEAR)
        results = _run(device, arrays, CASES[case][2], LINEAR)
    for result, exact in zip(results, expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(checks.host(result)), np.isfinite(exact))


def test_an_input_gradient_visits_only_taps_that_meet_a_window(device: Device) -> None:
    """With strides of 2 a tap meets every other pixel; an infinite weight reaches no other one."""
    geometry = Geometry((2, 2), pads=((1, 1), (1, 1)), groups=4)
    _, w, _, dy = _arrays((1, 8, 8, 4), (3, 3, 1, 4), geometry)
    w[0, 0] = np.inf
    dx = convolution_input_gradient(*checks.on(device, dy, dy, w), LINEAR, geometry, (1, 8, 8, 4))
    reached = np.zeros((8, 8), bool)
    reached[1::2, 1::2] = True  # pixel 2 p - 1, for windows p > 0
    reached[-1] = reached[:, -1] = False
    np.testing.assert_array_equal(~np.isfinite(checks.host(dx)[0, :, :, 0]), reached)


def test_arrays_that_are_not_contiguous(device: Device) -> None:
    for case in ("few channels: all at once", "groups: all at once"):
        arrays, geometry = _arrays(*CASES[case]), CASES[case][2]
        x, w, b, dy = (array[..., ::2] for array in checks.on(device, *(np.repeat(a, 2, axis=-1) for a in arrays)))
        y, saved = convolution(x, w, b, RELU, geometry)
        dx = convolution_input_gradient(dy, saved, w, RELU, geometry, x.shape)
        dw, db = empty_like(w), empty_like(b)
        convolution_kernel_gradient(x, dy, saved, RELU, geometry, dw, db)
        for result, expected in zip((y, dx, dw, db), _run(device, arrays, geometry), strict=True):
            checks.assert_same_bits(result, expected)


# Shapes of x and w, groups, and whether they are of few channels or small groups.
RULES: list[tuple[Any, Any, int, tuple[bool, bool]]] = [
    ((1, 9, 9, 4), (3, 3, 4, 64), 1, (True, False)),
    ((1, 9, 9, 5), (3, 3, 5, 64), 1, (False, False)),
    ((1, 9, 9, 1), (6, 6, 1, 64), 1, (True, False)),
    ((1, 9, 9, 1), (6, 7, 1, 64), 1, (False, False)),
    ((1, 9, 9, 16), (3, 3, 8, 16), 2, (False, True)),
    ((1, 9, 9, 18), (3, 3, 9, 18), 2, (False, False)),
    ((1, 9, 9, 2), (3, 3, 1, 18), 2, (False, False)),
    ((1, 99, 99, 2), (7, 73, 1, 2), 2, (False, True)),
    ((1, 99, 99, 2), (8, 64, 1, 2), 2, (False, False)),
    ((1, 99, 99, 4), (8, 16, 2, 8), 2, (False, False)),
    ((1, 2**15, 2**14, 4), (3, 3, 4, 8), 1, (False, False)),
]


@pytest.mark.parametrize("x, w, groups, expected", RULES)
def test_which_convolutions_have_kernels_of_their_own(x: Any, w: Any, groups: int, expected: tuple[bool, bool]) -> None:
    sizes = sizes_of("test", x, w, Geometry(groups=groups))
    found = convolution_direct.has_few_channels(sizes), convolution_direct.has_small_groups(sizes)
    assert found == expected
    assert convolution_direct.serves(sizes) == any(expected)


def test_huge_strides_and_paddings_are_left_to_the_matrix_product() -> None:
    for geometry in (Geometry((2**29, 1)), Geometry(pads=((2**20, 0), (2**11, 0)))):
        assert not convolution_direct.serves(sizes_of("test", (1, 9, 9, 1), (3, 3, 1, 8), geometry))
