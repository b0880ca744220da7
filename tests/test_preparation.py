"""Gradients before the update (kernels preparation.cu): penalties, clipping and weight decay of many parameters."""

from __future__ import annotations

import math
from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import Array, Device, HostArray
from gpunet.ops import preparation
from gpunet.ops.flat import BLOCK, Layout
from gpunet.ops.preparation import Rules

WIDE = np.float64
SHAPES = [(3, 5), (BLOCK,), (BLOCK + 1,), (2, 3, 5, 17)]
PENALTIES = [(0.0, 0.0), (0.1, 0.2), (0.3, 0.0), (0.0, 0.4)]
DECAYS = [0.5, 0.0, 0.25, 0.1]
NONE = [(0.0, 0.0)] * 4
RATE = np.array([0.5])


def _flat(layout: Layout, parts: list[HostArray], dtype: Any = np.float32) -> HostArray:
    flat = np.zeros(layout.size, dtype)
    for view, part in zip(layout.views(flat), parts, strict=True):
        view[...] = part
    return flat


def _case(
    device: Device, dtype: Any = np.float32, penalties: Any = PENALTIES, decays: Any = DECAYS
) -> tuple[Array, Array, Rules]:
    layout = Layout(SHAPES)
    w, g = ([checks.normal(*shape, seed=seed + n) for n, shape in enumerate(SHAPES)] for seed in (0, 10))
    w[1].flat[0] = 0
    return *checks.on(device, _flat(layout, w, dtype), _flat(layout, g, dtype)), Rules(
        layout, penalties, decays, dtype, device
    )


def _penalized(w: HostArray, g: HostArray, number: int) -> HostArray:
    return g + oracle.penalty_gradient(w, *PENALTIES[number]).astype(w.dtype)


def _views(rules: Rules, *flats: Array) -> Any:
    return zip(*(rules.layout.views(checks.host(flat)) for flat in flats), strict=True)


def test_penalties(device: Device) -> None:
    w, _, rules = _case(device)
    exact, plain = np.zeros(1), np.zeros(1, np.float32)
    for number, (part,) in enumerate(_views(rules, w)):
        exact += oracle.penalty(part.astype(WIDE), *PENALTIES[number])
        plain += oracle.penalty(part, *PENALTIES[number])
    checks.assert_as_exact_as_plain(preparation.penalties(w, rules), exact, plain)
    checks.assert_same_bits(preparation.penalties(w, rules), preparation.penalties(w, rules))
    w, _, rules = _case(device, WIDE)
    exact = sum(oracle.penalty(part, *PENALTIES[n]) for n, (part,) in enumerate(_views(rules, w)))
    checks.assert_close_in_double(preparation.penalties(w, rules), exact)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("limit", [0.5, 1e6])
@pytest.mark.parametrize("runs", [[slice(0, 4)], [slice(0, 1), slice(2, 4)]], ids=["all", "one missing"])
def test_clip_factors(device: Device, together: bool, limit: float, runs: list[slice]) -> None:
    for dtype, tolerance in ((np.float32, 1e-6), (WIDE, 1e-14)):
        w, g, rules = _case(device, dtype)
        squares = np.array(
            [
                np.square(_penalized(a.astype(WIDE), b.astype(WIDE), n)).sum()
                for n, (a, b) in enumerate(_views(rules, w, g))
            ]
        )
        there = np.array([any(run.start <= n < run.stop for run in runs) for n in range(4)])
        norms = np.sqrt(np.where(there, squares, 0))
        norms = np.sqrt(np.square(norms).sum(keepdims=True)) if together else norms
        factors = checks.host(preparation.clip_factors(w, g, rules, runs, limit, together))
        expected = np.minimum(1, limit / np.maximum(norms, 1e-30))
        assert factors.dtype == dtype and factors.shape == ((1,) if together else (4,))
        np.testing.assert_allclose(factors, expected, rtol=tolerance)


@pytest.mark.parametrize("bad, alone, together", [(np.inf, 0, np.nan), (np.nan, np.nan, np.nan)])
def test_norms_that_are_not_finite(device: Device, bad: float, alone: float, together: float) -> None:
    """As in Keras: a global norm spoils everything, so that it is seen; a norm of its own only its parameter."""
    w, g, rules = _case(device, penalties=NONE)
    g = checks.host(g).copy()
    g[0] = bad
    g = checks.on(device, g)
    runs = [slice(0, 4)]
    factors = checks.host(preparation.clip_factors(w, g, rules, runs, 1.0, False))
    np.testing.assert_array_equal(factors[0], alone)
    assert np.isfinite(factors[1:]).all()
    np.testing.assert_array_equal(checks.host(preparation.clip_factors(w, g, rules, runs, 1.0, True)), [together])


@pytest.mark.parametrize("penalties", [PENALTIES, NONE], ids=["penalties", "no penalties"])
@pytest.mark.parametrize("decays", [DECAYS, [0.0] * 4], ids=["decay", "no decay"])
@pytest.mark.parametrize("clip", [None, "each", "together", "bound"])
def test_prepare(device: Device, penalties: Any, decays: Any, clip: str | None) -> None:
    """Every operation is rounded by itself, so that the bits are those of NumPy."""
    w, g, rules = _case(device, penalties=penalties, decays=decays)
    start = [(a.copy(), b.copy()) for a, b in _views(rules, w, g)]
    factors = {"each": np.float32([0.5, 0.3, 1, 0.7]), "together": np.float32([0.3])}.get(str(clip))
    bound = 0.4 if clip == "bound" else math.inf
    preparation.prepare(w, g, rules, slice(0, 4), checks.on(device, RATE), checks.on(device, factors), bound)
    for number, (new_w, new_g) in enumerate(_views(rules, w, g)):
        old_w, h = start[number]
        if penalties is PENALTIES:
            h = _penalized(old_w, h, number)
        if factors is not None:
            h = h * factors[number if len(factors) > 1 else 0]
        np.testing.assert_array_equal(new_g, np.clip(h, np.float32(-bound), np.float32(bound)))
        decayed = old_w - old_w * np.float32(decays[number]) * np.float32(0.5)
        np.testing.assert_array_equal(new_w, decayed)


def test_prepare_leaves_other_parameters_alone(device: Device) -> None:
    w, g, rules = _case(device)
    before = [(a.copy(), b.copy()) for a, b in _views(rules, w, g)]
    preparation.prepare(w, g, rules, slice(2, 3), checks.on(device, RATE))
    for number, (pair, old) in enumerate(zip(_views(rules, w, g), before, strict=True)):
        assert all((a != b).any() == (number == 2) for a, b in zip(pair, old, strict=True))


def test_nan_stays(device: Device) -> None:
    w, g, rules = _case(device)
    g = checks.host(g).copy()
    g[1] = np.nan
    g = checks.on(device, g)
    preparation.prepare(w, g, rules, slice(0, 4), checks.on(device, RATE), bound=0.5)
    assert np.isnan(checks.host(g)[1]) and np.isnan(checks.host(g)).sum() == 1


def test_bad_input_is_refused(device: Device) -> None:
    w, g, rules = _case(device)
    with pytest.raises(ValueError, match=rf"prepare: gradient must have shape \({rules.layout.size},\); got \(7,\)"):
        preparation.prepare(w, g[:7], rules, slice(0, 4), checks.on(device, RATE))
    with pytest.raises(TypeError, match="clip_factors: all arrays must have one dtype"):
        preparation.clip_factors(w, checks.on(device, checks.host(g).astype(WIDE)), rules, [slice(0, 4)], 1.0, False)
