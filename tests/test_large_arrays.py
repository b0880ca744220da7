"""Arrays of more than 2^32 elements: kernels find every element, and what cannot be launched is refused.

Each op runs twice on device `emulated`: on the rows of four windows alone, and on an array of more than 2^32 elements
that has them at its beginning, around elements 2^31 and 2^32, and at its end (sparse_arrays.py). The kernels are those
of every other test; only some blocks of the grids run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import checks
import numpy as np
import pytest
from emulated_kernel import require_emulator
from sparse_arrays import ROWS, WINDOWS, Windows, covered, running, sparse

from gpunet.backend import emulator
from gpunet.backend.arrays import EMULATED, Array, HostArray, to_host
from gpunet.backend.sources import entry_points, kernel_files
from gpunet.ops import (
    accuracy,
    adam,
    arithmetic,
    binary_cross_entropy,
    constraint,
    convolution,
    convolution_policy,
    convolution_pooling,
    cross_entropy,
    dense,
    dropout,
    dropout_noise,
    gather,
    pooling,
    preparation,
    regularization,
    roofline,
    sgd,
    softmax,
    softmax_cross_entropy,
    squared_error,
    winograd,
)
from gpunet.ops import activation as activations
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dropping import Dropping
from gpunet.ops.flat import Layout

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory without pages is Linux's")

N = WINDOWS * ROWS  # of the small run


class Case(NamedTuple):
    """`run` takes small arrays with rows along the first axis, and returns the arrays that it made or changed.

    Those with as many rows as its first argument must have the bits of the small run, the others, sums over the rows,
    must be close.
    """

    run: Callable[..., Any]
    arrays: tuple[HostArray, ...]
    margin: int = 2


def _x(*row: int, seed: int = 0) -> HostArray:
    return checks.normal(N, *row, seed=seed)


def _labels(classes: int) -> HostArray:
    return (np.arange(N, dtype=np.int32) * 7) % classes


def _probabilities(classes: int, seed: int = 0) -> HostArray:
    p = np.random.default_rng(seed).random((N, classes), np.float32) + 0.1
    return p / p.sum(axis=1, keepdims=True)


def _on(array: Any, dtype: Any = np.float32) -> Array:
    return checks.on(EMULATED, np.array(array, dtype))


SCALE = 0.5
WIDE = 2**17 + 3  # elements of a row where ops go element by element

CASES: dict[str, Case] = {
    "activate": Case(lambda x: activations.activate(x, Activation.TANH), (_x(WIDE),)),
    "activate_gradient": Case(
        lambda dy, y: activations.activate_gradient(dy, y, Activation.TANH), (_x(WIDE), _x(WIDE, seed=1))
    ),
    "relu": Case(lambda x: activations.relu(x, 1.0, 0.1), (_x(WIDE),)),
    "relu_gradient": Case(lambda dy, x: activations.relu_gradient(dy, x, 1.0, 0.1), (_x(WIDE), _x(WIDE, seed=1))),
    "elu": Case(activations.elu, (_x(WIDE),)),
    "elu_gradient": Case(activations.elu_gradient, (_x(WIDE), _x(WIDE, seed=1))),
    "add_in_place": Case(lambda a, b: (arithmetic.add_in_place(a, b), a)[1], (_x(WIDE), _x(WIDE, seed=1))),
    "scale": Case(lambda x: arithmetic.scale(x, 0.3), (_x(WIDE),)),
    "scale_in_place": Case(lambda a: (arithmetic.scale_in_place(a, 0.3), a)[1], (_x(WIDE),)),
    "scale_by": Case(lambda x: arithmetic.scale_by(x, _on([0.3])), (_x(WIDE),)),
    "total": Case(arithmetic.total, (_x(WIDE),)),
    "penalty": Case(lambda w: regularization.penalty(w, 0.1, 0.2), (_x(WIDE),)),
    "add_penalty_gradient": Case(
        lambda w, dw: (regularization.add_penalty_gradient(w, dw, 0.1, 0.2), dw)[1], (_x(WIDE), _x(WIDE, seed=1))
    ),
    "non_negative": Case(lambda w: (constraint.non_negative(w), w)[1], (_x(WIDE),)),
    "sgd": Case(lambda w, g: (sgd.sgd(w, g, _on([0.1], np.float64)), w)[1], (_x(WIDE), _x(WIDE, seed=1))),
    "sgd_momentum": Case(
        lambda w, g, v: (sgd.sgd_momentum(w, g, v, _on([0.1], np.float64), 0.9, True), (w, v))[1],
        (_x(WIDE), _x(WIDE, seed=1), _x(WIDE, seed=2)),
    ),
    "adam": Case(
        lambda w, g, m, v: (adam.adam(w, g, m, v, _on([0.1], np.float64), 0.9, 0.99, 1e-7), (w, m, v))[1],
        (_x(WIDE), _x(WIDE, seed=1), _x(WIDE, seed=2), abs(_x(WIDE, seed=3))),
    ),
    "dropout_gradient": Case(
        lambda dy, mask: dropout.dropout_gradient(dy, mask, 0.3), (_x(WIDE), (_x(WIDE) > 0).astype(np.uint8))
    ),
    "copy": Case(lambda x, y: (roofline.copy(x, y), y)[1], (_x(WIDE), _x(WIDE, seed=1))),
    "squared_error": Case(squared_error.squared_error, (_x(WIDE), _x(WIDE, seed=1)), margin=1),
    "squared_error_gradient": Case(
        lambda y, t: squared_error.squared_error_gradient(y, t, _on([SCALE])), (_x(WIDE), _x(WIDE, seed=1))
    ),
    "softmax": Case(softmax.softmax, (_x(1003),)),
    "softmax_gradient": Case(softmax.softmax_gradient, (_x(1003), _probabilities(1003))),
    "softmax_cross_entropy": Case(softmax_cross_entropy.softmax_cross_entropy, (_x(1003), _labels(1003))),
    "softmax_cross_entropy_dense": Case(
        softmax_cross_entropy.softmax_cross_entropy_dense, (_x(1003), _probabilities(1003))
    ),
    "cross_entropy": Case(cross_entropy.cross_entropy, (_probabilities(1003), _labels(1003))),
    "cross_entropy_gradient": Case(
        lambda p, t, s: cross_entropy.cross_entropy_gradient(p, t, s, _on([SCALE])),
        (_probabilities(1003), _labels(1003), 1 + abs(_x())),
    ),
    "cross_entropy_dense": Case(cross_entropy.cross_entropy_dense, (_probabilities(1003), _probabilities(1003, 1))),
    "cross_entropy_dense_gradient": Case(
        lambda p, t, s, w: cross_entropy.cross_entropy_dense_gradient(p, t, s, w, _on([SCALE])),
        (_probabilities(1003), _probabilities(1003, 1), 1 + abs(_x()), _x(seed=2)),
    ),
    "binary_cross_entropy_logits": Case(
        binary_cross_entropy.binary_cross_entropy_logits, (_x(1003), _probabilities(1003))
    ),
    "binary_cross_entropy_logits_gradient": Case(
        lambda z, t: binary_cross_entropy.binary_cross_entropy_logits_gradient(z, t, _on([SCALE])),
        (_x(1003), _probabilities(1003)),
    ),
    "binary_cross_entropy": Case(
        binary_cross_entropy.binary_cross_entropy, (_probabilities(1003), _probabilities(1003, 1))
    ),
    "binary_cross_entropy_gradient": Case(
        lambda q, t: binary_cross_entropy.binary_cross_entropy_gradient(q, t, _on([SCALE])),
        (_probabilities(1003), _probabilities(1003, 1)),
    ),
    "max_pooling": Case(lambda x: pooling.max_pooling(x, (2, 2), (2, 2), "valid"), (_x(30, 31, 5),)),
    "max_pooling_gradient": Case(
        lambda dy, winner, x: pooling.max_pooling_gradient(dy, winner, (2, 2), (2, 2), "valid", x.shape),
        (_x(15, 15, 5), (np.arange(N * 15 * 15 * 5, dtype=np.int32) % 4).reshape(N, 15, 15, 5), _x(30, 31, 5)),
    ),
    "average_pooling": Case(lambda x: pooling.average_pooling(x, (2, 2), (2, 2), "valid"), (_x(30, 31, 5),)),
    "average_pooling_gradient": Case(
        lambda dy, x: pooling.average_pooling_gradient(dy, (2, 2), (2, 2), "valid", x.shape),
        (_x(15, 15, 5), _x(30, 31, 5)),
    ),
    "global_average_pooling": Case(pooling.global_average_pooling, (_x(30, 31, 5),)),
    "global_average_pooling_gradient": Case(
        lambda dy, x: pooling.global_average_pooling_gradient(dy, x.shape), (_x(5), _x(30, 31, 5))
    ),
}


def _rules(w: Array) -> preparation.Rules:
    return preparation.Rules(Layout([(w.size,)]), [(0.1, 0.2)], [0.01], np.float32, EMULATED)


def _prepared(w: Array, g: Array, *, limit: float = 0.0) -> tuple[Array, ...]:
    rules, run = _rules(w), slice(0, 1)
    flat = w.reshape(-1), g.reshape(-1)
    factors = preparation.clip_factors(*flat, rules, [run], limit, False) if limit else None
    preparation.prepare(*flat, rules, run, _on([0.1], np.float64), factors, 0.3)
    return (w, g) if factors is None else (w, g, factors)


def _gathered(order: Array, out: Array) -> Array:
    source = checks.on(EMULATED, _x(40))
    gather.gather(source, order, checks.on(EMULATED, np.zeros(1, np.int64)), out)
    return out


CASES |= {
    "penalties": Case(lambda w: preparation.penalties(w.reshape(-1), _rules(w)), (_x(256),)),
    "prepare": Case(_prepared, (_x(256), _x(256, seed=1))),
    "clip_factors": Case(lambda w, g: _prepared(w, g, limit=0.5), (_x(256), _x(256, seed=1))),
    "limit_norms": Case(lambda w: (constraint.limit_norm(w, (1,), 0.5, 2.0), w)[1], (_x(1003),)),
    "gather": Case(_gathered, (np.arange(N)[::-1].copy(), _x(40))),
}

W = {
    "dense": checks.normal(67, 40),
    "convolution": checks.normal(3, 3, 32, 16),
    "few channels": checks.normal(3, 3, 1, 16),
    "grouped": checks.normal(3, 3, 2, 24),
    "winograd": checks.normal(3, 3, 64, 64),
}
IMAGES = {
    "convolution": ((10, 11, 32), (8, 9, 16), Geometry()),
    "few channels": ((10, 11, 1), (8, 9, 16), Geometry()),
    "grouped": ((10, 11, 8), (8, 9, 24), Geometry(groups=4)),
}
RELU = Activation.RELU


def _convolved(name: str) -> dict[str, Case]:
    """Return the cases of a convolution, of it with its max-pooling, and of their gradients."""
    row, out, geometry = IMAGES[name]
    pooled = (out[0] // 2, out[1] // 2, out[2])
    winner = (np.arange(N * np.prod(pooled)) % 4).astype(np.uint8).reshape(N, *pooled)

    def w() -> Array:
        return checks.on(EMULATED, W[name])

    cases = {
        "": Case(lambda x: convolution.convolution(x, w(), None, RELU, geometry), (_x(*row),)),
        ", images": Case(
            lambda dy, y, x: convolution.convolution_input_gradient(dy, y, w(), RELU, geometry, x.shape),
            (_x(*out), _x(*out, seed=1), _x(*row)),
        ),
    }
    if name != "grouped":
        cases |= {
            ", pooled": Case(
                lambda x: convolution_pooling.convolution_pooling(x, w(), None, RELU, geometry, "valid"), (_x(*row),)
            ),
            ", pooled, images": Case(
                lambda dy, y, winner, x: convolution_pooling.convolution_pooling_input_gradient(
                    dy, y, winner, w(), RELU, geometry, "valid", x.shape
                ),
                (_x(*pooled), _x(*pooled, seed=1), winner, _x(*row)),
            ),
        }
    return {f"{name}{kind}": case for kind, case in cases.items()}


CASES |= {
    "dense": Case(lambda x: dense.dense(x, checks.on(EMULATED, W["dense"]), None, RELU), (_x(67),)),
    "dense, inputs": Case(
        lambda dy, y: dense.dense_input_gradient(dy, y, checks.on(EMULATED, W["dense"]), RELU), (_x(40), _x(40, seed=1))
    ),
}
for _name in IMAGES:
    CASES |= _convolved(_name)

# Sums over all pixels of all images: of few pixels, far from each other, so that every block can run.
ALL = 2**40
FAR = {
    "convolution": ((128, 128, 32), (2, 2, 16), Geometry(strides=(125, 125))),
    "few channels": ((512, 512, 1), (2, 2, 16), Geometry(strides=(509, 509))),
    "grouped": ((256, 256, 8), (2, 2, 24), Geometry(strides=(253, 253), groups=4)),
}


def _filters(name: str) -> dict[str, Case]:
    """Return the cases of the gradient of a convolution's filters, without and with its max-pooling."""
    row, out, geometry = FAR[name]
    winner = (np.arange(N * out[2]) % 4).astype(np.uint8).reshape(N, 1, 1, out[2])

    def new() -> tuple[Array, Array]:
        made: tuple[Array, Array] = checks.on(EMULATED, np.zeros_like(W[name]), np.zeros(out[2], np.float32))
        return made

    def plain(x: Array, dy: Array, y: Array) -> tuple[Array, Array]:
        dw, db = new()
        convolution.convolution_kernel_gradient(x, dy, y, RELU, geometry, dw, db)
        return dw, db

    def pooled(x: Array, dy: Array, y: Array, winner: Array) -> tuple[Array, Array]:
        dw, db = new()
        convolution_pooling.convolution_pooling_kernel_gradient(x, dy, y, winner, RELU, geometry, "valid", dw, db)
        return dw, db

    small = _x(1, 1, out[2], seed=1), _x(1, 1, out[2], seed=2), winner
    cases = {f"{name}, filters": Case(plain, (_x(*row), _x(*out, seed=1), _x(*out, seed=2)), ALL)}
    return cases if name == "grouped" else cases | {f"{name}, pooled, filters": Case(pooled, (_x(*row), *small), ALL)}


for _name in FAR:
    CASES |= _filters(_name)


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

    small = _x(*shape), _x(*shape, seed=1)
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
    x, dy, y = _x(width), _x(filters, seed=1), _x(filters, seed=2)
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
            x, w = windows.spread(np.ones((N, 8), np.float32)), _on(np.ones((8, width)))
            mask, _ = dense.dense(x, w, None, RELU, Dropping(0.3, (7, 3, 5)))
        rows = windows.gather(mask) != 0
    for place, row in zip(windows.places, rows, strict=True):
        np.testing.assert_array_equal(row, _kept(int(place) * width, width, 0.3))


def test_samples_are_gathered_from_anywhere() -> None:
    require_emulator()
    samples = _x(1003)
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
    "position.cu:move_on": "one number",
    "probe.cu:probe": "a thousand elements",
    "roofline.cu:multiply_adds": "one element a thread of the whole GPU",
    "finish.cu:finish": "sums over splits, of which there are many only where the result is small",
    "loss_reduction.cu:reduce_losses": "one block adds up all rows: an hour here; a thread's numbers are Index",
    "preparation.cu:clip_factors": "one number for 256 weights",
    "softmax_cross_entropy.cu:softmax_cross_entropy_total": "small batches only",
    "softmax_cross_entropy.cu:softmax_cross_entropy_dense_total": "small batches only",
    "winograd.cu:winograd_filters": "filters only; its workspace, as that of the products, is bounded",
    "winograd.cu:winograd_output": "is handed the rows of its slab",
    "winograd_products.cu:winograd_products": "workspaces of bounded size only",
}


@pytest.mark.skipif("not config.getoption('-k') == ''", reason="needs all tests of this file")
def test_every_kernel_is_here_or_named() -> None:
    require_emulator()
    every = {f"{file}:{entry}" for file in kernel_files() for entry in entry_points(file)}
    missing = every - {f"{file}:{entry}" for file, entry in covered} - set(NEVER_LARGE)
    assert not missing, sorted(missing)
    assert set(NEVER_LARGE) <= every
