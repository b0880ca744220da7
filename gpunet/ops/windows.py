"""Sliding windows along one axis: how many fit, and how 'same' pads; shared by convolution and pooling.

A window of `kernel` elements that are `dilation` apart spans `(kernel - 1) * dilation + 1` elements of its input.
The rules are TensorFlow's, which Keras follows: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
"""

from __future__ import annotations

from gpunet import arguments

PADDINGS = ("valid", "same")
CAUSAL = "causal"  # of sequences: window p ends with step p stride, so that it sees no later one
POOL = 2  # size and stride, in both directions, of the pooling that a convolution can do too


def output_size(size: int, kernel: int, stride: int, dilation: int, padding: str, where: str = "window") -> int:
    """Return the number of windows: 'valid': floor((size - span) / stride) + 1; 'same': ceil(size / stride).

    ValueError if `padding` is neither, or if it is 'valid' and the window is bigger than its input; `where` opens the
    message.

    >>> output_size(50, kernel=3, stride=1, dilation=1, padding="valid")
    48
    >>> output_size(11, kernel=2, stride=2, dilation=1, padding="same")
    6
    """
    arguments.choice(where, "padding", padding, PADDINGS)
    arguments.integer(where, "size", size)
    if padding == "same":
        return -(-size // stride)
    return padded_output_size(size, kernel, stride, dilation, (0, 0), where)


def padded_output_size(
    size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], where: str = "window"
) -> int:
    """Return the number of windows with `pads` = (before, after): floor((size + before + after - span) / stride) + 1.

    ValueError if the window is bigger than its padded input.
    """
    span = (kernel - 1) * dilation + 1
    padded = size + sum(pads)
    if span > padded:
        dilated = f", {span} with dilation {dilation}" if dilation > 1 else ""
        raise ValueError(
            f"{where}: kernel size must be at most {padded}, its input's; got {kernel}{dilated}; "
            f"use a smaller kernel, padding='same' or a bigger input"
        )
    return (padded - span) // stride + 1


def same_pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return (before, after), the fewest elements that let ceil(size / stride) windows fit; an odd one goes after.

    >>> same_pads(11, kernel=2, stride=2, dilation=1)
    (0, 1)
    """
    needed = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(needed - size, 0)
    return total // 2, total - total // 2


def window_pads(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Return (before, after) for `padding`: 'valid' (none), 'same', or 'causal', which pads before only."""
    if padding == CAUSAL:
        return (kernel - 1) * dilation, 0
    return same_pads(size, kernel, stride, dilation) if padding == "same" else (0, 0)
