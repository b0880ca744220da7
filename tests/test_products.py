"""Matrix products of the CPU in pieces (gpunet/ops/products.py)."""

from __future__ import annotations

import numpy as np
import pytest

from gpunet.ops import products

# Groups, rows, terms, columns: one piece; pieces and a rest; with long sums; too few rows to cut; none.
SHAPES = [(1, 7, 5, 3), (2, 1009, 100, 40), (1, 500, 900, 33), (1, 70, 384, 384), (1, 0, 5, 3), (3, 4096, 10, 16)]


def _factors(shape: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    g, m, k, n = shape
    random = np.random.default_rng(0)
    a, b, out = (random.standard_normal(size, np.float32) for size in ((g, m, k), (g, k, n), (g, m, n)))
    return a, b, out


def _check(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """No order of adding up a product's terms is further from it than this (Higham 2002, equation 3.13)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert (np.abs(out - a @ b) <= a.shape[-1] * 2.0**-24 * (np.abs(a) @ np.abs(b))).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_product(shape: tuple[int, int, int, int]) -> None:
    a, b, out = _factors(shape)
    products.multiply(a, b, out)
    _check(out, a, b)
    columns = np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1)  # as a matrix of short runs lies in memory
    products.multiply(columns, b, out)
    _check(out, a, b)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_transposed_product(shape: tuple[int, int, int, int]) -> None:
    a, out, b = _factors(shape)
    products.multiply_transposed(a, b, out)
    _check(out, a.transpose(0, 2, 1), b)


def test_one_left_side_for_several_right_sides() -> None:
    a, b, out = _factors((3, 1009, 100, 40))
    products.multiply(a[:1], b, out)
    _check(out, a[:1], b)


def test_views_of_interleaved_groups() -> None:
    a, b, _ = _factors((2, 1009, 100, 40))
    out = np.empty((1009, 2, 40), np.float32)
    products.multiply(a, b, out.transpose(1, 0, 2))
    _check(out.transpose(1, 0, 2), a, b)


def test_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 16 columns and 10 terms is cut into as few as are small enough; a thick one only into its terms."""
    calls: list[tuple[int, ...]] = []
    matmul = np.matmul

    def logged(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
        calls.append(a.shape)
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", logged)
    a, b, out = _factors((1, 18433, 10, 16))
    products.multiply(a, b, out)
    assert calls == [(1, 3, 6144, 10), (1, 1, 10)]
    calls.clear()
    products.multiply_transposed(a, out, np.empty_like(b))
    assert calls == [(1, 3, 10, 6144), (1, 10, 1)]
    calls.clear()
    a, b, out = _factors((1, 512, 900, 256))
    products.multiply(a, b, out)
    assert calls == [(1, 1, 512, 384), (1, 1, 512, 384), (1, 1, 512, 132)]
