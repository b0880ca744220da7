"""Arrays of more than 2^32 elements: kernels find every element, and what cannot be launched is refused.

Each op runs twice on device `emulated`: on the rows of four windows alone, and on an array of more than 2^32 elements
that has them at its beginning, around elements 2^31 and 2^32, and at its end (sparse_arrays.py). The kernels are those
of every other test; only some blocks of the grids run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import checks
import large_cases_metrics
import large_cases_moves as moves
import large_cases_pointwise
import numpy as np
import pytest
from emulated_kernel import require_emulator
from large_cases import CASES, RELU, Case, N, normal, placed
from sparse_arrays import ROWS, Windows, covered, running, sparse

from gpunet.backend import emulator
from gpunet.backend.arrays import EMULATED, Array, HostArray, to_host
from gpunet.backend.sources import entry_points, kernel_files
from gpunet.ops import (
    accuracy,
    convolution,
    convolution_policy,
    dense,
    dropout,
    dropout_noise,
    gather,
    pooling,
    winograd,
)
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dropping import Dropping

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory without pages is Linux's")


CASES |= large_cases_pointwise.CASES


def _results(given: Any) -> tuple[Array, ...]:
    return given if isinstance(given, tuple) else (given,)


def _check(case: Case) -> None:
    """Run a case in the small and in the large, and compare."""
    small = [checks.on(EMULATED, array) for array in case.arrays]
    with emulator.configured(checked=False):
        expected = _results(case.run(*small))
    rows = [array for array in (*case.arrays, *expected) if len(array) == N]
    windows = Windows(max(int(np.prod(array.shape[1:])) for array in rows))
    with running(windows, case.margin):
        large = [windows.spread(array) for array in case.arrays]
        actual = _results(case.run(*large))
        assert max(array.size for array in (*large, *actual)) > 2**32
        for one, other in zip(actual, expected, strict=True):
            if len(other) == N:
                assert len(one) == windows.rows
                checks.assert_same_bits(windows.gather(one), to_host(other))
            else:
                sums = to_host(other)  # in another order
                np.testing.assert_allclose(to_host(one), sums, rtol=1e-4, atol=1e-6 * abs(sums).max())


@pytest.mark.parametrize("name", CASES)
def test_elements_beyond_an_int_are_found(name: str) -> None:
    require_emulator()
    _check(CASES[name])


@pytest.mark.parametrize("backward", [False, True])
def test_winograds_slabs(backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many small slabs those run that hold rows of the windows."""
    require_emulator()
    monkeypatch.setattr(winograd, "_WORKSPACE", 2**22)
    shape = (6, 6, 64)
    windows = Windows(int(np.prod(shape)))
    w, slabs = checks.on(EMULATED, checks.normal(3, 3, 64, 64)), winograd.slabs
    geometry = Geometry(pads=((1, 1), (1, 1)))

    def run(x: Array, y: Array) -> Array:
        with convolution_policy.convolution("winograd"):
            if backward:
                return convolution.convolution_input_gradient(x, y, w, RELU, geometry, x.shape)
            return convolution.convolution(x, w, None, RELU, geometry)[0]

    def of_windows(*args: Any) -> Iterator[winograd.Slab]:
        for slab in slabs(*args):
            tiles = math.prod(slab.grid)
            first, last = slab.first // tiles, (slab.first + slab.tiles - 1) // tiles
            if any(first <= place <= last for place in windows.places):
                yield slab

    small = normal(*shape), normal(*shape, seed=1)
    with emulator.configured(checked=False):
        expected = run(*checks.on(EMULATED, *small))
    monkeypatch.setattr(winograd, "slabs", of_windows)
    with running(lambda grid: [range(math.prod(grid))]):
        actual = run(*map(windows.spread, small))
        checks.assert_same_bits(windows.gather(actual), to_host(expected))


def _ends(grid: tuple[int, int, int]) -> list[range]:
    """Choose the first and the last block."""
    last = int(np.prod(grid)) - 1
    return [range(1), range(last, last + 1)]


def test_the_gradient_of_a_dense_kernel() -> None:
    """A sum over all rows, of which the first and the last block give some columns of x."""
    require_emulator()
    width, filters = 2**17, 8
    windows = Windows(width)
    x, dy, y = normal(width), normal(filters, seed=1), normal(filters, seed=2)
    exact = x.T.astype(np.float64) @ (dy * (y > 0))
    with running(_ends):
        dw, db = sparse((width, filters), np.float32), sparse((filters,), np.float32)
        large = [windows.spread(array) for array in (x, dy, y)]
        dense.dense_kernel_gradient(*large, RELU, dw, db)
    done = np.flatnonzero(to_host(dw).any(axis=1))
    assert done[0] == 0 and done[-1] == width - 1 and 32 < len(done) < 1000
    np.testing.assert_allclose(to_host(dw)[done], exact[done], rtol=1e-4, atol=1e-5)


def _kept(first: int, count: int, rate: float) -> HostArray:
    """Return which of `count` elements from number `first` on a dropout keeps, as NumPy draws them."""
    philox = np.random.Philox(key=[7, 3], counter=[0, 0, 0, 5])
    philox.advance(first // 8)  # eight numbers of 32 bits a step of the counter
    return np.random.Generator(philox).random(count + first % 8, np.float32)[first % 8 :] >= np.float32(rate)


@pytest.mark.parametrize("name", ["dropout", "noise_mask", "dense"])
def test_masks_are_numpys_everywhere(name: str) -> None:
    require_emulator()
    width = 1003
    windows = Windows(width)
    with running(windows, margin=20):  # eight tiles of columns
        if name == "dropout":
            _, mask = dropout.dropout(windows.spread(np.ones((N, width), np.float32)), 0.3, (7, 3, 5))
        elif name == "noise_mask":
            shape = (windows.rows, width, 1)
            mask = dropout_noise.noise_mask(shape, (None, None, 1), 0.3, (7, 3, 5), EMULATED)[..., 0]
        else:
            x, w = windows.spread(np.ones((N, 8), np.float32)), placed(np.ones((8, width)))
            mask, _ = dense.dense(x, w, None, RELU, Dropping(0.3, (7, 3, 5)))
        rows = windows.gather(mask) != 0
    for place, row in zip(windows.places, rows, strict=True):
        np.testing.assert_array_equal(row, _kept(int(place) * width, width, 0.3))


def test_samples_are_gathered_from_anywhere() -> None:
    require_emulator()
    samples = normal(1003)
    windows = Windows(1003)
    out = sparse((N, 1003), np.float32)
    with running(windows):
        source, order = windows.spread(samples), checks.on(EMULATED, windows.places.astype(np.int64))
        gather.gather(source, order, checks.on(EMULATED, np.zeros(1, np.int64)), out)
    checks.assert_same_bits(out, samples)


@pytest.mark.parametrize("name", ["sparse", "dense"])
def test_matches_are_counted_everywhere(name: str) -> None:
    """Rows of zeros match too; in the windows only what lies at the end of a row makes it match."""
    require_emulator()
    classes = 2**19 + 1
    windows = Windows(classes)
    at_end = np.zeros((N, classes), np.float32)
    at_end[:, -1] = 1
    block = (windows.rows - ROWS) // accuracy.ROWS % accuracy.BLOCKS
    state = checks.on(EMULATED, np.zeros((accuracy.BLOCKS, 2)))
    with running(lambda grid: [range(block, block + 1)]):
        y = windows.spread(at_end)
        if name == "sparse":
            accuracy.sparse_matches(y, windows.spread(np.full(N, classes - 1, np.int32)), state)
        else:
            accuracy.dense_matches(y, windows.spread(at_end), state)
    expected = int((np.arange(windows.rows) // accuracy.ROWS % accuracy.BLOCKS == block).sum())
    counted = to_host(state)
    assert counted[block].tolist() == [expected, expected] and not np.delete(counted, block, axis=0).any()


def test_a_grid_that_no_gpu_takes_is_refused() -> None:
    """An image a block: 2^31 images of one pixel are 8 GiB, which a GPU has, but one block too many."""
    require_emulator()
    images = sparse((2**31, 1, 1, 1), np.float32)
    text = (
        r"pooling.cu:max_pooling: grid must have at most \(2147483647, 65535, 65535\) blocks; got \(2147483648, 1, 1\)"
    )
    with running(_ends), pytest.raises(ValueError, match=text + "; use smaller batches"):
        pooling.max_pooling(images, (1, 1), (1, 1), "valid")
    with running(_ends):
        pooling.max_pooling(images[:-1], (1, 1), (1, 1), "valid")


# Kernels that no test above launches on a large array, and why.
NEVER_LARGE = {
    "accuracy.cu:binary_matches": "few blocks, each of which would take seconds here; indices are Index",
    "accuracy.cu:equal_matches": "few blocks, each of which would take seconds here; indices are Index",
    "accumulation.cu:accumulate_mean": "one number",
    "optimizer_step.cu:advance": "one number",
    "optimizer_step.cu:advance_adam": "one number",
    "optimizer_step.cu:advance_nadam": "six numbers",
    "optimizer_step.cu:advance_lamb": "two numbers",
    "optimizer_step.cu:advance_adafactor": "three numbers",
    "learning_rate.cu:scheduled_rate": "a few numbers",
    "lamb.cu:lamb_step": "norms of whole parameters: an hour here; indices are Index",
    "lamb.cu:lamb_factors": "two numbers for 256 weights",
    "lamb.cu:lamb": "is handed the factors of norms, as lamb_step; indices are Index",
    **{
        f"adafactor.cu:adafactor{ending}": "sums over whole parameters: an hour here; indices are Index"
        for ending in ("_rows", "_columns", "_means", "_scaled", "_factor", "")
    },
    "muon.cu:muon_momentum": "a norm of the whole matrix: an hour here; indices are Index",
    "muon.cu:muon_factor": "one number for 256 weights",
    "position.cu:move_on": "one number",
    "probe.cu:probe": "a thousand elements",
    "normalization.cu:normalization_moments": "few blocks share all rows, minutes for each here; indices are Index",
    "normalization_gradient.cu:normalization_sums": "as its moments",
    "nonfinite.cu:keep_if": "16 blocks an array, each of which would take minutes here; indices are Index",
    "nonfinite.cu:note_nonfinite": "at most 256 blocks, each of which would take seconds here; indices are Index",
    "roofline.cu:multiply_adds": "one element a thread of the whole GPU",
    "finish.cu:finish": "sums over splits, of which there are many only where the result is small",
    "circle_loss.cu:circle_loss": "65536 rows of as many columns: an hour here; a thread's numbers are Index",
    "hinge_shift.cu:hinge_shift": "one block looks at all targets: an hour here; a thread's numbers are Index",
    "loss_reduction.cu:reduce_losses": "one block adds up all rows: an hour here; a thread's numbers are Index",
    "preparation.cu:clip_factors": "one number for 256 weights",
    "softmax_cross_entropy.cu:softmax_cross_entropy_total": "small batches only",
    "softmax_cross_entropy.cu:softmax_cross_entropy_dense_total": "small batches only",
    "winograd.cu:winograd_filters": "filters only; its workspace, as that of the products, is bounded",
    "winograd.cu:winograd_output": "is handed the rows of its slab",
    "winograd_products.cu:winograd_products": "workspaces of bounded size only",
    **moves.NEVER,
}


NEVER_LARGE |= large_cases_pointwise.NEVER_LARGE
NEVER_LARGE |= large_cases_metrics.NEVER_LARGE


@pytest.mark.skipif("not config.getoption('-k') == ''", reason="needs all tests of this file")
def test_every_kernel_is_here_or_named() -> None:
    require_emulator()
    every = {f"{file}:{entry}" for file in kernel_files() for entry in entry_points(file)}
    missing = every - {f"{file}:{entry}" for file, entry in covered} - set(NEVER_LARGE)
    assert not missing, sorted(missing)
    assert set(NEVER_LARGE) <= every
