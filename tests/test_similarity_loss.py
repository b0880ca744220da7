"""Losses by three sums over a row: cosine similarity and overlap, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import checks
import numpy as np
import oracle_losses as oracle
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.ops.similarity_loss import FEW_COLUMNS, Overlap, similarity_loss, similarity_loss_gradient

WIDE = np.float64
KINDS: dict[str, tuple[Overlap | None, Callable[..., Any]]] = {
    "cosine": (None, oracle.negative_cosine),
    "dice": (Overlap(2, 1, 1), partial(oracle.overlap, both=2, target=1, output=1)),
    "tversky": (Overlap(1, 0.3, 0.8), partial(oracle.overlap, both=1, target=0.3, output=0.8)),
}
each_kind = pytest.mark.parametrize("name", KINDS)


def _case(name: str, shape: tuple[int, int], dtype: Any) -> tuple[Overlap | None, Any, HostArray, HostArray]:
    rng = np.random.default_rng(0)
    draw = rng.standard_normal if name == "cosine" else rng.random
    return *KINDS[name], draw(shape).astype(dtype), draw(shape).astype(dtype)


@each_kind
@pytest.mark.parametrize("shape", [(1, 1), (3, 33), (2, FEW_COLUMNS + 1)])
def test_losses(device: Device, name: str, shape: tuple[int, int]) -> None:
    overlap, formula, y, t = _case(name, shape, np.float32)
    losses, _ = similarity_loss(*checks.on(device, y, t), overlap)
    checks.assert_as_exact_as_plain(losses, formula(y.astype(WIDE), t.astype(WIDE)), formula(y, t))
    y, t = y.astype(WIDE), t.astype(WIDE)
    checks.assert_close_in_double(similarity_loss(*checks.on(device, y, t), overlap)[0], formula(y, t))


@each_kind
def test_gradient_against_differences(device: Device, name: str) -> None:
    overlap, formula, y, t = _case(name, (3, 40), WIDE)
    scales = np.array([0.5, 2.0, -1.0])
    y_device, t_device, scales_device, one = checks.on(device, y, t, scales, np.array([0.3]))
    _, lines = similarity_loss(y_device, t_device, overlap)
    dy = similarity_loss_gradient(y_device, t_device, lines, scales_device)
    checks.assert_gradient(lambda y: float(formula(y, t) @ scales), y, dy)
    same = similarity_loss_gradient(y_device, t_device, lines, checks.on(device, np.full(3, 0.3)))
    checks.assert_same_bits(similarity_loss_gradient(y_device, t_device, lines, one), same)


def test_rows_without_length(device: Device) -> None:
    """Keras takes their squares to be 1e-14: the cosine is 0, and the gradient that of a product."""
    y, t, one = checks.on(device, np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]), np.ones(1))
    losses, lines = similarity_loss(y, t)
    assert not checks.host(losses).any()
    dy = checks.host(similarity_loss_gradient(y, t, lines, one))
    np.testing.assert_allclose(dy, [[-6e6, -8e6], [0, 0]])


def test_no_overlap_at_all(device: Device) -> None:
    zeros = checks.on(device, np.zeros((1, 3), np.float32))
    losses, lines = similarity_loss(zeros, zeros, Overlap(2, 1, 1))
    checks.assert_same_bits(losses, np.float32([1]))
    assert np.isfinite(checks.host(lines)).all()


def test_bad_input_is_refused(device: Device) -> None:
    y = checks.on(device, checks.normal(3, 4))
    with pytest.raises(ValueError, match=r"similarity_loss: targets must have shape \(3, 4\); got \(3, 1\)"):
        similarity_loss(y, checks.on(device, checks.normal(3, 1)))
    with pytest.raises(ValueError, match=r"similarity_loss_gradient: lines must have shape \(3, 3\); got \(3, 4\)"):
        similarity_loss_gradient(y, y, y, y)
