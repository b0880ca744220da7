"""Transposed convolution, the op: any stride, dilation and padding, on every tile."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import oracle_convolution
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution_input_gradient
from gpunet.ops.convolution_sizes import Geometry, sizes_of
from gpunet.ops.convolution_transposed import convolution_transposed
from gpunet.ops.dropout import dropout
from gpunet.ops.dropping import Dropping

# Shapes of y and w, geometry of the convolution from y to x.
CASES = {
    "one number": ((1, 1, 1, 1), (1, 1, 1, 1), Geometry()),
    "plain": ((2, 6, 7, 3), (3, 2, 3, 5), Geometry()),
    "doubled": ((2, 8, 6, 4), (3, 3, 4, 5), Geometry((2, 2), pads=((0, 1), (0, 1)))),
    "strides beyond the window": ((1, 11, 9, 2), (2, 1, 2, 3), Geometry((4, 3))),
    "dilation": ((1, 9, 9, 2), (3, 2, 2, 3), Geometry(dilation=(3, 4), pads=((1, 0), (2, 1)))),
    "a sequence": ((2, 1, 12, 6), (1, 4, 6, 3), Geometry((1, 3), pads=((0, 0), (1, 1)))),
    "split": ((1, 2, 3, 2), (2, 2, 2, 700), Geometry()),
}


def _arrays(case: str, dtype: Any = np.float32) -> Any:
    shape, w_shape, geometry = CASES[case]
    x = sizes_of("test", shape, w_shape, geometry).y
    return tuple(checks.normal(*s, seed=i, dtype=dtype) for i, s in enumerate([x, w_shape, w_shape[2:3]]))


def _expected(arrays: Any, case: str, activation: Activation) -> Any:
    shape, _, geometry = CASES[case]
    return oracle.activation(activation.value, oracle_convolution.transposed_z(*arrays, shape, **vars(geometry)))


@pytest.mark.parametrize("case", CASES)
def test_cases(device: Device, case: str) -> None:
    shape, _, geometry = CASES[case]
    arrays = _arrays(case)
    activation = Activation.SILU if case == "split" else Activation.TANH
    y, saved = convolution_transposed(*checks.on(device, *arrays), activation, geometry, shape)
    exact = _expected([array.astype(np.float64) for array in arrays], case, activation)
    checks.assert_as_exact_as_plain(y, exact, _expected(arrays, case, activation))
    if activation is Activation.SILU:
        z = _expected([array.astype(np.float64) for array in arrays], case, Activation.LINEAR)
        checks.assert_as_exact_as_plain(saved, z, _expected(arrays, case, Activation.LINEAR))
    else:
        assert saved is y


@pytest.mark.parametrize("case", ["doubled", "split"])
def test_it_is_the_data_gradient_to_the_last_bit(device: Device, case: str) -> None:
    shape, _, geometry = CASES[case]
    x, w, _ = checks.on(device, *_arrays(case))
    y, _ = convolution_transposed(x, w, None, Activation.LINEAR, geometry, shape)
    checks.assert_same_bits(y, convolution_input_gradient(x, x, w, Activation.LINEAR, geometry, shape))


@pytest.mark.parametrize("case", ["doubled", "split"])
def test_dropping_is_dropout_behind_it(device: Device, case: str) -> None:
    shape, _, geometry = CASES[case]
    arrays = checks.on(device, *_arrays(case))
    key = 5, 3, 7
    y, _ = convolution_transposed(*arrays, Activation.RELU, geometry, shape)
    dropped, _ = convolution_transposed(*arrays, Activation.RELU, geometry, shape, Dropping(0.4, key))
    checks.assert_same_bits(dropped, dropout(y, 0.4, key)[0])


def test_double_precision(device: Device) -> None:
    shape, _, geometry = CASES["dilation"]
    arrays = _arrays("dilation", np.float64)
    y, _ = convolution_transposed(*checks.on(device, *arrays), Activation.GELU, geometry, shape)
    checks.assert_close_in_double(y, _expected(arrays, "dilation", Activation.GELU))


@pytest.mark.parametrize("tile", ["large", "tall"])
def test_which_tile_runs_changes_no_bit(device: Device, tile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With widest loads; the epilogue writes every element of every phase."""
    if device == CPU:
        pytest.skip("no tiles")
    shape, w_shape, geometry = (2, 10, 9, 36), (3, 3, 36, 8), Geometry((2, 2), pads=((1, 1), (0, 1)))
    x = sizes_of("test", shape, w_shape, geometry).y
    arrays = checks.on(device, *(checks.normal(*s, seed=i) for i, s in enumerate([x, w_shape, (36,)])))
    expected, _ = convolution_transposed(*arrays, Activation.RELU, geometry, shape)
    monkeypatch.setattr(tiles, "_chosen", lambda *_: tiles.TILES[tile][1])
    y, _ = convolution_transposed(*arrays, Activation.RELU, geometry, shape)
    checks.assert_same_bits(y, expected)


@given(
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
)
def test_any_geometry_on_the_cpu(image: Any, kernel: Any, strides: Any, dilation: Any, pads: Any) -> None:
    spans = [(size - 1) * rate + 1 for size, rate in zip(kernel, dilation, strict=True)]
    size = [max(edge, span - sum(pad)) for edge, span, pad in zip(image, spans, pads, strict=True)]
    geometry, shape, w_shape = Geometry(strides, dilation, pads), (2, *size, 3), (*kernel, 3, 2)
    x_shape = sizes_of("test", shape, w_shape, geometry).y
    x, w, b = (checks.normal(*s, seed=i, dtype=np.float64) for i, s in enumerate([x_shape, w_shape, (3,)]))
    y, _ = convolution_transposed(x, w, b, Activation.LINEAR, geometry, shape)
    checks.assert_close_in_double(y, oracle_convolution.transposed_z(x, w, b, shape, **vars(geometry)))


@pytest.mark.parametrize("order", ["reverse", 5])
def test_same_bits_in_any_order_of_threads(device: Device, order: str | int) -> None:
    shape, _, geometry = CASES["doubled"]
    arrays = checks.on(device, *_arrays("doubled"))
    expected, _ = convolution_transposed(*arrays, Activation.RELU, geometry, shape)
    with emulator.configured(order=order):
        checks.assert_same_bits(convolution_transposed(*arrays, Activation.RELU, geometry, shape)[0], expected)


def test_bad_arrays_are_refused(device: Device) -> None:
    x, w, b = checks.on(device, *_arrays("plain"))
    shape, _, geometry = CASES["plain"]
    linear = Activation.LINEAR
    with pytest.raises(
        ValueError, match=r"convolution_transposed: x must have shape \(2, 4, 6, 5\); got \(2, 4, 5, 5\)"
    ):
        convolution_transposed(x[:, :, :5], w, b, linear, geometry, shape)
    with pytest.raises(ValueError, match=r"convolution_transposed: b must have shape \(3,\); got \(2,\)"):
        convolution_transposed(x, w, b[:2], linear, geometry, shape)
    with pytest.raises(ValueError, match="convolution_transposed: groups must be 1; got 3"):
        convolution_transposed(x, w, b, linear, Geometry(groups=3), shape)
    with pytest.raises(ValueError, match="convolution_transposed: activation must be relu to drop"):
        convolution_transposed(x, w, b, linear, geometry, shape, Dropping(0.5, (0, 0, 0)))
    if device != CPU:
        with pytest.raises(TypeError, match="convolution_transposed: all arrays must be on one device"):
            convolution_transposed(x, checks.host(w), b, linear, geometry, shape)
