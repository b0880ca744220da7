"""What convolution and its gradients refuse, and in which words."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import Device, empty_like
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_sizes import Geometry

RELU = Activation.RELU


def test_errors(device: Device) -> None:
    x, w = checks.on(device, np.ones((2, 5, 4, 6), np.float32), np.ones((3, 3, 6, 4), np.float32))

    def run(geometry: Geometry = Geometry(), x: Any = x, w: Any = w, b: Any = None) -> None:  # noqa: B008
        convolution(x, w, b, RELU, geometry)

    with pytest.raises(ValueError, match=r"convolution: x must have 4 axes, \(N, H, W, C\); got shape \(5, 4, 6\)"):
        run(x=x[0])
    with pytest.raises(ValueError, match=r"convolution: w must have 4 axes, \(R, S, C / groups, F\); got shape \(3, 6"):
        run(w=w[0])
    with pytest.raises(ValueError, match=r"w must have shape \(3, 3, 6, 4\), as x has 6 channels in 1 groups; got"):
        run(w=checks.on(device, np.ones((3, 3, 5, 4), np.float32)))
    with pytest.raises(ValueError, match=r"w must have shape \(3, 3, 3, 4\), as x has 6 channels in 2 groups; got"):
        run(Geometry(groups=2))
    with pytest.raises(ValueError, match=r"groups must divide the 6 channels of x and the 4 filters of w; got 3"):
        run(Geometry(groups=3))
    with pytest.raises(ValueError, match=r"convolution: b must have shape \(4,\); got \(6,\)"):
        run(b=x[0, 0, 0])
    with pytest.raises(ValueError, match=r"kernel size must be at most 4, its input's; got 3, 7 with dilation 3; use"):
        run(Geometry(dilation=(1, 3)))
    with pytest.raises(ValueError, match=r"x must have at least one element; got shape \(0, 5, 4, 6\)"):
        run(x=x[:0])
    with pytest.raises(TypeError, match=r"one dtype; got x of float32, w of float64"):
        run(w=checks.on(device, np.ones((3, 3, 6, 4))))
    with pytest.raises(ValueError, match=r"convolution: strides must be at least 1; got 0"):
        Geometry(strides=(1, 0))
    with pytest.raises(ValueError, match=r"convolution: pads must be at least 0; got -1"):
        Geometry(pads=((0, -1), (0, 0)))
    with pytest.raises(
        ValueError, match=r"convolution: every size must be at most 1073741823; got x \(2, 5, 4, 6\), w"
    ):
        run(Geometry(pads=((2**30, 0), (0, 0))))
    with pytest.raises(ValueError, match=r"convolution: every size must be at most 1073741823; got x"):
        run(Geometry(strides=(2**32, 1)))


def test_gradient_errors(device: Device) -> None:
    x, w, b, dy = checks.on(
        device, *(checks.normal(*shape) for shape in ((2, 5, 4, 6), (3, 3, 6, 4), (4,), (2, 3, 2, 4)))
    )
    y, saved = convolution(x, w, b, RELU, Geometry())
    with pytest.raises(ValueError, match=r"convolution_input_gradient: dy must have shape \(2, 3, 2, 4\); got \(1,"):
        convolution_input_gradient(dy[:1], saved, w, RELU, Geometry(), x.shape)
    with pytest.raises(ValueError, match=r"convolution_input_gradient: saved must have shape \(2, 3, 2, 4\); got"):
        convolution_input_gradient(dy, saved[:1], w, RELU, Geometry(), x.shape)
    with pytest.raises(ValueError, match=r"input_shape must have 4 axes, \(N, H, W, C\); got \(2, 5, 4\)"):
        convolution_input_gradient(dy, saved, w, RELU, Geometry(), (2, 5, 4))
    with pytest.raises(ValueError, match=r"convolution_kernel_gradient: dy must have shape \(2, 3, 2, 4\); got"):
        convolution_kernel_gradient(x, dy[:, :2], y, RELU, Geometry(), empty_like(w), empty_like(b))
    with pytest.raises(ValueError, match=r"convolution_kernel_gradient: db must have shape \(4,\); got \(3,\)"):
        convolution_kernel_gradient(x, dy, y, RELU, Geometry(), empty_like(w), empty_like(b)[:3])
    with pytest.raises(ValueError, match=r"convolution_gradients: dy must have shape \(2, 3, 2, 4\); got \(2, 2"):
        convolution_gradients(x, dy[:, :2], y, w, RELU, Geometry(), empty_like(w), empty_like(b))
    with pytest.raises(ValueError, match=r"convolution_gradients: db must have shape \(4,\); got \(3,\)"):
        convolution_gradients(x, dy, y, w, RELU, Geometry(), empty_like(w), empty_like(b)[:3])
    with pytest.raises(ValueError, match="convolution_kernel_gradient: dw must be C-contiguous"):
        convolution_kernel_gradient(x, dy, y, RELU, Geometry(), empty_like(w).transpose(1, 0, 2, 3), None)
