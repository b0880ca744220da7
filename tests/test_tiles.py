"""Tiles (gpunet/ops/tiles.py): which one runs never changes a bit, and a table may choose it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Array, Device, empty_like
from gpunet.backend.devices import capability
from gpunet.backend.sources import entry_points, kernel_files, kernel_folder, source
from gpunet.ops import choices, tiles
from gpunet.ops.activation import Activation
from gpunet.ops.choices import Key, Product
from gpunet.ops.convolution import convolution, convolution_gradients
from gpunet.ops.convolution_pooling import convolution_pooling, convolution_pooling_gradients
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient

RELU = Activation.RELU
FLOAT = [name for name, (dtype, _) in tiles.TILES.items() if dtype == "float32"]
DOUBLE = [name for name, (dtype, _) in tiles.TILES.items() if dtype == "float64"]


@pytest.fixture(autouse=True)
def _own_table_again() -> Iterator[None]:
    yield
    gpunet.set_tuning(None)


@pytest.fixture
def kernels(device: Device) -> Device:
    """A device that runs kernels."""
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    return device


def _write(path: Path, table: dict[Key, str]) -> Path:
    path.write_bytes(choices.render(table, "for a test"))
    return path


def _dense(device: Device, m: int, k: int, n: int, dtype: Any = np.float32) -> list[Array]:
    """Return y, dx, dw, db."""
    shapes = (m, k), (k, n), (n,), (m, n)
    x, w, b, dy = checks.on(device, *(checks.normal(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)))
    y, saved = dense(x, w, b, RELU)
    dw, db = empty_like(w), empty_like(b)
    dense_kernel_gradient(x, dy, saved, RELU, dw, db)
    return [y, dense_input_gradient(dy, saved, w, RELU), dw, db]


def _images(device: Device, x_shape: tuple[int, ...], w_shape: tuple[int, ...], groups: int) -> list[Array]:
    """Return y, dx, dw, db, and where its sums are short enough, the same of the convolution with pooling."""
    geometry = Geometry(pads=((1, 0), (1, 1)), groups=groups)
    arrays = checks.normal(*x_shape), checks.normal(*w_shape, seed=1), checks.normal(w_shape[3], seed=2)
    x, w, b = checks.on(device, *arrays)
    y, saved = convolution(x, w, b, RELU, geometry)
    dw, db = empty_like(w), empty_like(b)
    dx = convolution_gradients(x, y, saved, w, RELU, geometry, dw, db)
    if np.prod(w_shape[:3]) > tiles.LONGEST_UNSPLIT:
        return [y, dx, dw, db]
    z, *saved_and_winner = convolution_pooling(x, w, b, RELU, geometry, "same")
    pooled_dw, pooled_db = empty_like(w), empty_like(b)
    given = (x, z, *saved_and_winner, w, RELU, geometry, "same", pooled_dw, pooled_db)
    return [y, dx, dw, db, z, *saved_and_winner, convolution_pooling_gradients(*given), pooled_dw, pooled_db]


# Odd sizes, and a last unit of terms that is not full, in both chains of splits and chunks.
PRODUCTS: dict[str, tuple[list[str], int, Callable[[Device], list[Array]]]] = {
    "dense, split": (FLOAT, 256, lambda device: _dense(device, 37, 1109, 29)),
    "dense, chunks": (FLOAT, 1, lambda device: _dense(device, 1109, 35, 29)),
    "dense, chunks and splits": (FLOAT, 2, lambda device: _dense(device, 3, 1345, 5)),
    "dense, long rows": (FLOAT, 2, lambda device: _dense(device, 5, 3, 1345)),
    "double, split": (DOUBLE, 256, lambda device: _dense(device, 5, 1109, 33, np.float64)),
    "convolution, many channels": (FLOAT, 256, lambda device: _images(device, (1, 5, 6, 61), (3, 3, 61, 5), 1)),
    "convolution, many filters": (FLOAT, 256, lambda device: _images(device, (1, 5, 6, 5), (3, 3, 5, 61), 1)),
    "convolution, many pixels": (FLOAT, 256, lambda device: _images(device, (1, 24, 24, 5), (3, 3, 5, 5), 1)),
    "convolution, chunks": (FLOAT, 1, lambda device: _images(device, (1, 24, 24, 5), (3, 3, 5, 5), 1)),
    "convolution, groups": (FLOAT, 256, lambda device: _images(device, (1, 6, 7, 18), (3, 2, 9, 10), 2)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_tile_gives_the_same_bits(
    kernels: Device, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, enough_blocks, run = PRODUCTS[name]
    monkeypatch.setattr(tiles, "_ENOUGH_BLOCKS", enough_blocks)
    with tiles.noted() as launches:
        expected = run(kernels)
    keys = [Key(one.operation, capability(kernels), one.plan.product.class_of(one.dtype)) for one in launches]
    assert any(one.plan.splits > 1 for one in launches) == (enough_blocks > 1 and "groups" not in name)
    for tile in names:
        able = [key for key in keys if tile in tiles.candidates(key.operation, launches[0].dtype)]
        gpunet.set_tuning(_write(tmp_path / "table.json", dict.fromkeys(able, tile)))
        with checks.recorded_launches() as made, emulator.configured(order=7):
            found = run(kernels)
        shape = {f"-D{define}={value}" for define, value in tiles.TILES[tile][1].defines.items()}
        assert sum(shape <= set(launch.options) for launch in made) >= len(able)
        for one, other in zip(found, expected, strict=True):
            checks.assert_same_bits(one, other)


def test_every_tile_gives_zeros_the_same_sign(kernels: Device, tmp_path: Path) -> None:
    """A sum that underflows is -0, and 0 once a term of 0 is added: tiles must add as many of these."""
    tiny = np.full((8, 5), 1e-30, np.float32)
    x, dy = checks.on(kernels, -tiny, tiny)
    for name in FLOAT:
        key = Key("dense_kernel_gradient", capability(kernels), Product(5, 5, 8).class_of("float32"))
        gpunet.set_tuning(_write(tmp_path / "table.json", {key: name}))
        dw = checks.on(kernels, np.ones((5, 5), np.float32))
        dense_kernel_gradient(x, dy, dy, RELU, dw, None)
        assert not checks.host(dw).any() and not np.signbit(checks.host(dw)).any()


def test_units_are_those_of_the_kernels_and_every_kernel_on_the_tile_loop_is_known() -> None:
    text = (kernel_folder() / "gemm.cuh").read_text(encoding="utf-8")
    assert re.findall(r"constexpr int UNIT = (\d+);", text) == [str(tiles.UNIT)]
    assert all(tiles.UNIT % tile.bk == 0 for _, tile in tiles.TILES.values())
    files = [file for file in kernel_files() if "struct Part" in source(file)]
    assert {entry for file in files for entry in entry_points(file)} == set(tiles.OPERATIONS)


def test_a_captured_step_is_captured_anew(kernels: Device, tmp_path: Path) -> None:
    model = Sequential([Input((5,)), Dense(3, activation="relu")])
    model.compile("sgd", "mse")
    x, y = checks.normal(4, 5), checks.normal(4, 3)

    def heights() -> list[str]:
        """Heights of the tiles that a step launches; none when it is a graph."""
        with checks.recorded_launches() as made:
            model.train_on_batch(x, y)
        return [option for launch in made for option in launch.options if option.startswith("-DBM=")]

    for _ in range(4):
        assert heights() == ["-DBM=32", "-DBM=32"]
    assert heights() == []
    key = Key("dense", capability(kernels), Product(4, 3, 5).class_of("float32"))
    gpunet.set_tuning(_write(tmp_path / "table.json", {key: "narrow"}))
    assert heights() == ["-DBM=64", "-DBM=32"]
