"""Windows along an axis: how many there are, and how 'same' pads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.ops.windows import output_size, padded_output_size, same_pads, window_pads

SIZES, KERNELS, STEPS = st.integers(1, 40), st.integers(1, 9), st.integers(1, 6)


def _starts(size: int, kernel: int, stride: int, dilation: int) -> list[int]:
    """Return where windows begin that lie wholly inside `size` elements."""
    return [start for start in range(0, size, stride) if start + (kernel - 1) * dilation < size]


@given(SIZES, KERNELS, STEPS, STEPS)
def test_valid_counts_the_windows_inside(size: int, kernel: int, stride: int, dilation: int) -> None:
    expected = len(_starts(size, kernel, stride, dilation))
    if expected:
        assert output_size(size, kernel, stride, dilation, "valid") == expected
        assert window_pads(size, kernel, stride, dilation, "valid") == (0, 0)
    else:
        with pytest.raises(ValueError, match="kernel size must be at most"):
            output_size(size, kernel, stride, dilation, "valid")


@given(SIZES, KERNELS, STEPS, STEPS)
def test_same_pads_just_enough_and_the_odd_one_after(size: int, kernel: int, stride: int, dilation: int) -> None:
    windows = output_size(size, kernel, stride, dilation, "same")
    assert windows == (size + stride - 1) // stride
    before, after = same_pads(size, kernel, stride, dilation)
    assert (before, after) == window_pads(size, kernel, stride, dilation, "same")
    assert 0 <= after - before <= 1
    padded = size + before + after
    assert len(_starts(padded, kernel, stride, dilation)) >= windows
    if before + after:
        assert padded_output_size(size, kernel, stride, dilation, (before, after)) == windows
        assert len(_starts(padded - 1, kernel, stride, dilation)) < windows


@pytest.mark.parametrize(
    "size, kernel, stride, dilation, windows, pads",
    [
        (5, 3, 1, 1, 5, (1, 1)),
        (5, 2, 2, 1, 3, (0, 1)),
        (11, 2, 2, 1, 6, (0, 1)),
        (6, 3, 2, 1, 3, (0, 1)),  # TensorFlow's asymmetry: symmetric padding would be (1, 1)
        (7, 3, 1, 3, 7, (3, 3)),
        (4, 1, 3, 1, 2, (0, 0)),
    ],
)
def test_same_as_tensorflow_has_it(
    size: int, kernel: int, stride: int, dilation: int, windows: int, pads: tuple[int, int]
) -> None:
    assert output_size(size, kernel, stride, dilation, "same") == windows
    assert same_pads(size, kernel, stride, dilation) == pads


def test_errors_name_the_place_and_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"conv2d_1: padding must be one of 'valid', 'same'; got 'full'"):
        output_size(5, 3, 1, 1, "full", "conv2d_1")
    with pytest.raises(ValueError, match=r"conv2d_1: kernel size must be at most 2, its input's; got 3; use a smaller"):
        output_size(2, 3, 1, 1, "valid", "conv2d_1")
    with pytest.raises(ValueError, match=r"must be at most 4, its input's; got 3, 5 with dilation 2;"):
        output_size(4, 3, 1, 2, "valid")
    with pytest.raises(ValueError, match=r"window: size must be at least 1; got 0"):
        output_size(0, 3, 1, 1, "same")
