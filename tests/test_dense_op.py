"""Dense: the fused matrix product and both its gradients, with every tile, edge and kind of split."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import EMULATED, Device, empty_like, to_device
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient

RELU = Activation.RELU
CHUNK = 512  # of kernels/gemm.cuh: terms that one register adds up

# (M, N) that get a tile, near its edges; K is near the edges of bk, which is 8 or 16.
EDGES = {
    tiles.SMALL: [(1, 1), (1, 33), (31, 32), (32, 31), (32, 65)],
    tiles.NARROW: [(33, 1), (63, 32), (64, 31), (65, 32), (129, 7)],
    tiles.TALL: [(8065, 32), (8192, 31)],
    tiles.MEDIUM: [(33, 33), (63, 65), (64, 64), (65, 63), (127, 129)],
    tiles.LARGE: [(1023, 1025), (1024, 897)],
}
DEPTHS = [1, 7, 8, 9, 15, 16, 17, 33]
DOUBLE_EDGES = {
    tiles.DOUBLE_SMALL: [(1, 1), (31, 33), (32, 32), (33, 31)],
    tiles.DOUBLE_MEDIUM: [(33, 33), (63, 65), (64, 64), (65, 63)],
}


def _case(m: int, n: int, k: int, seed: int = 0, dtype: type = np.float32) -> tuple[np.ndarray, ...]:
    """Return x, w, b, dy."""
    shapes = [(m, k), (k, n), (n,), (m, n)]
    return tuple(checks.normal(*shape, seed=seed + i, dtype=dtype) for i, shape in enumerate(shapes))


def _run(device: Device, case: tuple[np.ndarray, ...], activation: Activation) -> tuple[Any, ...]:
    """Return y, dx, dw, db."""
    x, w, b, dy = checks.on(device, *case)
    y, saved = dense(x, w, b, activation)
    dx = dense_input_gradient(dy, saved, w, activation)
    dw, db = empty_like(w), None if b is None else empty_like(b)
    dense_kernel_gradient(x, dy, saved, activation, dw, db)
    for array, before in zip((x, w, b, dy), case, strict=True):
        if before is not None:
            checks.assert_same_bits(array, before)
    return y, dx, dw, db


def _expected(case: tuple[np.ndarray, ...], activation: Activation) -> tuple[np.ndarray, ...]:
    x, w, b, dy = case
    return oracle.dense(x, w, b, activation.value), *oracle.dense_gradients(x, w, b, dy, activation.value)


def _in_double(case: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(None if array is None else array.astype(np.float64) for array in case)


def _check(device: Device, case: tuple[np.ndarray, ...], activation: Activation) -> None:
    exact, plain = _expected(_in_double(case), activation), _expected(case, activation)
    for result, exact_result, plain_result in zip(_run(device, case, activation), exact, plain, strict=True):
        checks.assert_as_exact_as_plain(result, exact_result, plain_result)


@pytest.mark.parametrize("tile", EDGES, ids=["small", "narrow", "tall", "medium", "large"])
def test_edges_of_every_tile(device: Device, tile: tiles.Tile) -> None:
    for number, (m, n) in enumerate(EDGES[tile]):
        assert tiles.choose_tile(m, n, np.float32) == tile
        for k in DEPTHS if m * n < 10_000 else DEPTHS[-2:]:
            x, w, b, _ = _case(m, n, k, seed=number)
            y, _ = dense(*checks.on(device, x, w, b), RELU)
            exact = oracle.dense(*_in_double((x, w, b)), "relu")
            checks.assert_as_exact_as_plain(y, exact, oracle.dense(x, w, b, "relu"))


@pytest.mark.parametrize("tile", EDGES, ids=["small", "narrow", "tall", "medium", "large"])
def test_gradients_at_the_edges_of_every_tile(device: Device, tile: tiles.Tile) -> None:
    for number, (rows, columns) in enumerate(EDGES[tile]):
        for depth in (1, 8, 17) if rows * columns < 10_000 else (17,):
            # dx has (rows, columns) in the first case, dw in the second.
            _check(device, _case(rows, depth, columns, seed=number), RELU)
            _check(device, _case(depth, columns, rows, seed=number), RELU)


@pytest.mark.parametrize("tile", DOUBLE_EDGES, ids=["small", "medium"])
def test_edges_of_every_tile_in_double(device: Device, tile: tiles.Tile) -> None:
    for number, (m, n) in enumerate(DOUBLE_EDGES[tile]):
        assert tiles.choose_tile(m, n, np.float64) == tile
        for k in (1, 7, 8, 9, 40):
            case = _case(m, n, k, seed=number, dtype=np.float64)
            for result, exact in zip(_run(device, case, RELU), _expected(case, RELU), strict=True):
                checks.assert_close_in_double(result, exact)


@pytest.mark.parametrize("activation", Activation)
def test_every_activation(device: Device, activation: Activation) -> None:
    _check(device, _case(20, 10, 30), activation)
    x, w, b, dy = _case(20, 10, 30)
    _check(device, (x, w / 100, b, dy), activation)  # the sums are about the bias


@pytest.mark.parametrize("activation", Activation)
def test_every_activation_after_a_split(device: Device, activation: Activation) -> None:
    x, w, b, dy = _case(6, 5, 700)
    assert tiles.plan(6, 5, 700, np.float32).splits > 1
    _check(device, (x, w / 20, b, dy), activation)


def test_without_bias(device: Device) -> None:
    for k in (30, 700):
        x, w, _, dy = _case(20, 10, k)
        y, dx, dw, db = _run(device, (x, w, None, dy), RELU)
        assert db is None
        exact = _expected(_in_double((x, w, None, dy)), RELU)
        for result, exact_result, plain in zip((y, dx, dw), exact, _expected((x, w, None, dy), RELU), strict=False):
            checks.assert_as_exact_as_plain(result, exact_result, plain)


@pytest.mark.parametrize("k", [255, 256, 511, 512, 513, 1000, 4096, 40_000])
def test_split_sums(device: Device, k: int) -> None:
    assert (tiles.plan(5, 3, k, np.float32).splits > 1) == (k >= 512)
    _check(device, _case(5, 3, k), RELU)  # split in the forward pass
    _check(device, _case(5, k, 3), RELU)  # in dx
    _check(device, _case(k, 5, 3), RELU)  # in dw and db


@pytest.mark.parametrize("k, tiles_n, splits", [(1008, 256, 1), (1024, 256, 1), (1040, 256, 1), (2561, 200, 2)])
def test_sums_longer_than_a_chunk(device: Device, k: int, tiles_n: int, splits: int) -> None:
    """Many tiles, hence few splits, and sums of more terms than one register adds up."""
    n = 32 * tiles_n
    assert tiles.plan(1, n, k, np.float32).splits == splits
    x, w, b, _ = _case(1, n, k)
    y, _ = dense(*checks.on(device, x, w, b), RELU)
    exact = oracle.dense(*_in_double((x, w, b)), "relu")
    checks.assert_as_exact_as_plain(y, exact, oracle.dense(x, w, b, "relu"))


def test_kernel_gradient_of_very_many_rows(device: Device) -> None:
    """The largest number of splits, each longer than two chunks, for dw and db."""
    rows = 256 * (2 * CHUNK + 48)
    assert tiles.plan(2, 3, rows, np.float32).splits == 256
    _check(device, _case(rows, 3, 2), RELU)


@pytest.mark.parametrize("activation", Activation)
def test_gradients_against_differences(device: Device, activation: Activation) -> None:
    x, w, b, dy = _case(5, 4, 6, seed=3, dtype=np.float64)
    _, dx, dw, db = _run(device, (x, w, b, dy), activation)

    def value(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
        y, _ = dense(*checks.on(device, x, w, b), activation)
        return float((dy * checks.host(y)).sum())

    checks.assert_gradient(lambda x: value(x, w, b), x, dx)
    checks.assert_gradient(lambda w: value(x, w, b), w, dw)
    checks.assert_gradient(lambda b: value(x, w, b), b, db)


@pytest.mark.parametrize("sizes", [(70, 40, 90), (6, 5, 3000), (3000, 5, 6)])
def test_same_bits_at_every_run(device: Device, sizes: tuple[int, int, int]) -> None:
    case = _case(*sizes)
    first = _run(device, case, RELU)
    for order in ("forward", "reverse", 5):  # of the threads, on device emulated
        with emulator.configured(order=order):
            for again, result in zip(_run(device, case, RELU), first, strict=True):
                checks.assert_same_bits(again, result)


def test_arrays_that_are_not_contiguous(device: Device) -> None:
    case = _case(9, 7, 11)
    x, w, b, dy = (np.repeat(array, 2, axis=-1) for array in case)
    x, w, b, dy = (array[..., ::2] for array in checks.on(device, x, w, b, dy))
    y, saved = dense(x, w, b, RELU)
    dw, db = empty_like(w), empty_like(b)
    dense_kernel_gradient(x, dy, saved, RELU, dw, db)
    results = y, dense_input_gradient(dy, saved, w, RELU), dw, db
    for result, expected in zip(results, _expected(_in_double(case), RELU), strict=True):
        np.testing.assert_allclose(checks.host(result), expected, rtol=1e-4, atol=1e-5)


def test_plans_have_no_empty_split_and_fit_the_workspace() -> None:
    for m, n, k in [(1, 1, 1), (1, 1, 10**9), (9, 16, 295_000), (128, 128, 1600), (10**7, 64, 576), (5, 3, 511)]:
        for dtype in (np.float32, np.float64):
            plan = tiles.plan(m, n, k, dtype)
            units = -(-k // tiles.UNIT)
            share = -(-units // plan.splits)
            assert share * (plan.splits - 1) < units
            assert plan.splits == 1 or plan.splits * m * n <= 256 * plan.tile.bm * plan.tile.bn * 2


def test_errors(device: Device) -> None:
    x, w, b, dy = checks.on(device, *_case(4, 3, 5))
    with pytest.raises(ValueError, match=r"dense: x must have shape \(4, 3\); got \(4, 5\)"):
        dense(x, checks.on(device, np.ones((3, 5), np.float32)), None, RELU)
    with pytest.raises(ValueError, match=r"dense: b must have shape \(3,\); got \(4,\)"):
        dense(x, w, checks.on(device, np.ones(4, np.float32)), RELU)
    with pytest.raises(ValueError, match=r"dense: x must have 2 axes, \(M, K\); got shape \(5,\)"):
        dense(x[0], w, b, RELU)
    with pytest.raises(ValueError, match=r"dense: x must have at least one element; got shape \(0, 5\)"):
        dense(x[:0], w, b, RELU)
    with pytest.raises(TypeError, match=r"all arrays must have one dtype; got x of float32, w of float64"):
        dense(x, checks.on(device, np.ones((5, 3))), None, RELU)
    with pytest.raises(TypeError, match=r"w must be float32 or float64; got int32"):
        dense(x, checks.on(device, np.ones((5, 3), np.int32)), None, RELU)
    with pytest.raises(ValueError, match=r"dense_input_gradient: dy must have shape \(4, 3\); got \(4, 5\)"):
        dense_input_gradient(x, x, w, RELU)
    with pytest.raises(ValueError, match=r"dense_kernel_gradient: dy must have shape \(4, 3\); got \(3, 3\)"):
        dense_kernel_gradient(x, dy[:3], dy, RELU, empty_like(w), empty_like(b))
    with pytest.raises(ValueError, match=r"dense_kernel_gradient: saved must have shape \(4, 3\); got \(3, 3\)"):
        dense_kernel_gradient(x, dy, dy[:3], RELU, empty_like(w), empty_like(b))
    with pytest.raises(ValueError, match=r"dense_kernel_gradient: dw must have shape \(5, 3\); got \(3, 5\)"):
        dense_kernel_gradient(x, dy, dy, RELU, empty_like(w).T, None)
    with pytest.raises(ValueError, match="dense_kernel_gradient: db must be C-contiguous"):
        dense_kernel_gradient(x, dy, dy, RELU, empty_like(w), empty_like(dy)[:3, 0])


def test_arrays_on_two_devices() -> None:
    x, w, b, _ = _case(4, 3, 5)
    with pytest.raises(TypeError, match=r"dense: all arrays must be on one device; got x on emulated, w on cpu"):
        dense(to_device(x, EMULATED), w, b, RELU)
