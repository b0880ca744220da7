"""What convolution and max-pooling as one op refuse, and in which words."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import CPU, Device
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_pooling import (
    convolution_pooling,
    convolution_pooling_gradients,
    convolution_pooling_input_gradient,
    convolution_pooling_kernel_gradient,
)
from gpunet.ops.convolution_sizes import Geometry

RELU = Activation.RELU


def _arrays(device: Device) -> Any:
    """Return x, w, b, dy, the last for padding 'valid'."""
    return checks.on(device, *(checks.normal(*shape) for shape in ((2, 5, 6, 6), (3, 3, 6, 4), (4,), (2, 1, 2, 4))))


def test_errors(device: Device) -> None:
    x, w = checks.on(device, np.ones((2, 5, 4, 6), np.float32), np.ones((3, 3, 6, 4), np.float32))

    def run(x: Any = x, w: Any = w, b: Any = None, padding: str = "valid", **geometry: Any) -> None:
        convolution_pooling(x, w, b, RELU, Geometry(**geometry), padding)

    with pytest.raises(ValueError, match=r"convolution_pooling: x must have 4 axes, \(N, H, W, C\); got shape \(5, 4"):
        run(x[0])
    with pytest.raises(ValueError, match=r"convolution_pooling: w must have shape \(3, 3, 6, 4\), as x has 6 channels"):
        run(w=checks.on(device, np.ones((3, 3, 5, 4), np.float32)))
    with pytest.raises(ValueError, match=r"convolution_pooling: b must have shape \(4,\); got \(6,\)"):
        run(b=x[0, 0, 0])
    with pytest.raises(ValueError, match="convolution_pooling: padding must be one of 'valid', 'same'; got 'full'"):
        run(padding="full")
    with pytest.raises(
        ValueError, match=r"output must be at least \(2, 2\) for padding 'valid'; got \(3, 1\); use padding='same' or"
    ):
        run(dilation=(1, 1), w=checks.on(device, np.ones((3, 4, 6, 4), np.float32)))
    with pytest.raises(ValueError, match=r"w must have at most 511 taps, R S C / groups; got 512; use convolution and"):
        run(*checks.on(device, np.ones((1, 2, 2, 512), np.float32), np.ones((1, 1, 512, 1), np.float32)))
    with pytest.raises(ValueError, match=r"x must have at least one element; got shape \(0, 5, 4, 6\)"):
        run(x[:0])
    with pytest.raises(TypeError, match=r"one dtype; got x of float32, w of float64"):
        run(w=checks.on(device, np.ones((3, 3, 6, 4))))


def test_gradient_errors(device: Device) -> None:
    x, w, b, dy = _arrays(device)
    how = RELU, Geometry(), "valid"
    _, saved, winner = convolution_pooling(x, w, b, *how)

    def input_gradient(dy: Any = dy, saved: Any = saved, winner: Any = winner) -> None:
        convolution_pooling_input_gradient(dy, saved, winner, w, *how, x.shape)

    def kernel_gradient(dy: Any = dy, winner: Any = winner, dw: Any = w, db: Any = b) -> None:
        convolution_pooling_kernel_gradient(x, dy, saved, winner, *how, dw, db)

    where = "convolution_pooling_input_gradient"
    with pytest.raises(ValueError, match=rf"{where}: dy must have shape \(2, 1, 2, 4\); got \(1, 1, 2, 4\)"):
        input_gradient(dy[:1])
    with pytest.raises(ValueError, match=rf"{where}: saved must have shape \(2, 1, 2, 4\); got \(2, 1, 1, 4\)"):
        input_gradient(saved=saved[:, :, :1])
    with pytest.raises(ValueError, match=rf"{where}: winner must have shape \(2, 1, 2, 4\); got \(1, 1, 2, 4\)"):
        input_gradient(winner=winner[:1])
    with pytest.raises(TypeError, match=f"{where}: winner must be uint8; got float32"):
        input_gradient(winner=dy)
    where = "convolution_pooling_gradients"
    with pytest.raises(ValueError, match=rf"{where}: saved must have shape \(2, 1, 2, 4\); got \(1, 1, 2, 4\)"):
        convolution_pooling_gradients(x, dy, saved[:1], winner, w, *how, w, b)
    with pytest.raises(ValueError, match=rf"{where}: db must have shape \(4,\); got \(3,\)"):
        convolution_pooling_gradients(x, dy, saved, winner, w, *how, w, b[:3])
    where = "convolution_pooling_kernel_gradient"
    with pytest.raises(ValueError, match=rf"{where}: dy must have shape \(2, 1, 2, 4\); got \(1, 1, 2, 4\)"):
        kernel_gradient(dy[:1])
    with pytest.raises(TypeError, match=f"{where}: winner must be uint8; got float32"):
        kernel_gradient(winner=dy)
    with pytest.raises(ValueError, match=rf"{where}: db must have shape \(4,\); got \(3,\)"):
        kernel_gradient(db=b[:3])
    with pytest.raises(ValueError, match=rf"{where}: dw must be C-contiguous"):
        kernel_gradient(dw=checks.on(device, np.ones((3, 3, 6, 8), np.float32))[..., ::2])


def test_mixed_devices_are_refused(device: Device) -> None:
    if device == CPU:
        pytest.skip("needs a second device")
    x, w, b, dy = _arrays(device)
    _, saved, winner = convolution_pooling(x, w, b, RELU, Geometry(), "valid")
    with pytest.raises(TypeError, match=r"input_gradient: all arrays must be on one device; got dy on \S+, winner on"):
        convolution_pooling_input_gradient(dy, saved, checks.host(winner), w, RELU, Geometry(), "valid", x.shape)
