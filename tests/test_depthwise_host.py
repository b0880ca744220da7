"""Depthwise convolution on the CPU: runs of columns, blocks of rows, filters of a channel, frames that cut."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.ops import convolution_host, depthwise_host, im2col
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_gradients
from gpunet.ops.convolution_sizes import Geometry

LINEAR = Activation.LINEAR


def _run(x: Any, w: Any, b: Any, dy: Any, geometry: Geometry) -> tuple[Any, ...]:
    """Return y, dx, dw, db."""
    y, saved = convolution(x, w, b, LINEAR, geometry)
    dw, db = np.empty_like(w), np.empty_like(b)
    return y, convolution_gradients(x, dy, saved, w, LINEAR, geometry, dw, db), dw, db


def _arrays(x: Any, w: Any, geometry: Geometry, dtype: Any) -> tuple[Any, ...]:
    x, w, b = (checks.normal(*shape, seed=i, dtype=dtype) for i, shape in enumerate([x, w, w[3:]]))
    return x, w, b, checks.normal(*oracle.convolution_z(x, w, b, **vars(geometry)).shape, seed=3, dtype=dtype)


def _expected(x: Any, w: Any, b: Any, dy: Any, geometry: Geometry) -> tuple[Any, ...]:
    how = vars(geometry)
    return oracle.convolution_z(x, w, b, **how), *oracle.convolution_gradients(x, w, dy, **how)


@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2),
    multiplier=st.integers(1, 3),
    run=st.integers(1, 12),
    block=st.sampled_from([1, 500, 2**21]),
)
def test_any_geometry(
    image: Any, kernel: Any, strides: Any, dilation: Any, pads: Any, multiplier: int, run: int, block: int
) -> None:
    """Also with runs of few columns, whose rest is a shorter run, and blocks of few rows."""
    spans = [(size - 1) * rate + 1 for size, rate in zip(kernel, dilation, strict=True)]
    size = [max(edge, span - sum(pad)) for edge, span, pad in zip(image, spans, pads, strict=True)]
    geometry = Geometry(strides, dilation, pads, groups=3)
    arrays = _arrays((3, *size, 3), (*kernel, 1, 3 * multiplier), geometry, np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise_host, "_LONGEST_RUN", run)
        patch.setattr(im2col, "_LARGEST_BLOCK", block)
        results = _run(*arrays, geometry)
    for actual, expected in zip(results, _expected(*arrays, geometry), strict=True):
        checks.assert_close_in_double(actual, expected)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_as_exact_as_plain(strides: Any) -> None:
    """With more pixels than one run, and more images than one block."""
    geometry = Geometry(strides, pads=((1, 1), (1, 1)), groups=40)
    arrays = _arrays((12, 30, 31, 40), (3, 3, 1, 40), geometry, np.float32)
    exact = _expected(*(array.astype(np.float64) for array in arrays), geometry)
    for actual, one, plain in zip(_run(*arrays, geometry), exact, _expected(*arrays, geometry), strict=True):
        checks.assert_as_exact_as_plain(actual, one, plain)


def test_no_matrix_of_windows_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("a group for each channel is no matrix product")

    monkeypatch.setattr(convolution_host, "window_matrix", refuse)
    monkeypatch.setattr(np, "matmul", refuse)
    geometry = Geometry(groups=4)
    _run(*_arrays((2, 5, 5, 4), (3, 3, 1, 8), geometry, np.float32), geometry)
    with pytest.raises(AssertionError, match="matrix product"):
        pairs = Geometry(groups=2)
        _run(*_arrays((2, 5, 5, 4), (3, 3, 2, 8), pairs, np.float32), pairs)
