"""What GPUs before compute capability 8.0 run, without asynchronous copies (kernels/ptx.cuh), gives the same bits."""

from __future__ import annotations

from typing import Any

import checks
import pytest

from gpunet.backend import launch
from gpunet.backend.arrays import EMULATED, Array, Device, empty_like
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_gradients
from gpunet.ops.convolution_pooling import convolution_pooling, convolution_pooling_gradients
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient

RELU = Activation.RELU


def _dense(device: Device) -> list[Array]:
    x, w, dy = checks.on(
        device, checks.normal(35, 1030), checks.normal(1030, 37, seed=1), checks.normal(35, 37, seed=2)
    )
    y, saved = dense(x, w, None, RELU)
    dw = empty_like(w)
    dense_kernel_gradient(x, dy, saved, RELU, dw, None)
    return [y, dw, dense_input_gradient(dy, saved, w, RELU)]


def _images(device: Device) -> list[Array]:
    geometry = Geometry(pads=((1, 0), (1, 1)))
    x, w, b = checks.on(
        device, checks.normal(2, 9, 8, 8), checks.normal(3, 3, 8, 36, seed=1), checks.normal(36, seed=2)
    )
    y, saved = convolution(x, w, b, RELU, geometry)
    dw, db = empty_like(w), empty_like(b)
    dx = convolution_gradients(x, y, saved, w, RELU, geometry, dw, db)
    z, *saved_and_winner = convolution_pooling(x, w, b, RELU, geometry, "same")
    pooled_dw, pooled_db = empty_like(w), empty_like(b)
    given = (x, z, *saved_and_winner, w, RELU, geometry, "same", pooled_dw, pooled_db)
    return [y, dx, dw, db, z, *saved_and_winner, convolution_pooling_gradients(*given), pooled_dw, pooled_db]


@pytest.mark.parametrize("run", [_dense, _images])
def test_products_without_asynchronous_copies(device: Device, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if device != EMULATED:
        pytest.skip(f"{device}: only the emulator can stand for an older GPU")
    expected = run(device)
    defines = tiles.Tile.defines.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(tiles.Tile, "defines", property(lambda tile: {**defines(tile), "__CUDA_ARCH__": 750}))
    monkeypatch.setattr(launch, "launched", set())  # NVRTC has an architecture of its own
    found = run(device)
    assert all("-D__CUDA_ARCH__=750" in one.options for one in launch.launched if one.entry != "finish")
    for one, other in zip(found, expected, strict=True):
        checks.assert_same_bits(one, other)
