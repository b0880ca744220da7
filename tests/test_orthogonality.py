"""How far vectors are from being orthogonal (orthogonality.cu), its gradient, and the regularizer."""

from __future__ import annotations

import checks
import numpy as np
import oracle_pointwise as oracle
import pytest

from gpunet import regularizers
from gpunet.backend.arrays import Device
from gpunet.ops.orthogonality import THREADS, add_orthogonality_gradient, orthogonality


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("shape", [(2, 1), (3, THREADS + 1), (9, 4)])
def test_values_and_gradients(device: Device, shape: tuple[int, int], columns: bool) -> None:
    w = checks.normal(*(shape[::-1] if columns else shape))
    rows = w.T if columns else w
    y = orthogonality(checks.on(device, w), columns)
    checks.assert_as_exact_as_plain(y, oracle.orthogonality(rows.astype(np.float64)), oracle.orthogonality(rows))
    wide = w.astype(np.float64)
    dw = checks.on(device, np.zeros_like(wide))
    add_orthogonality_gradient(checks.on(device, wide), dw, 0.3, columns)
    again = checks.on(device, wide)
    add_orthogonality_gradient(checks.on(device, wide), again, 0.3, columns)
    np.testing.assert_allclose(checks.host(again), wide + checks.host(dw), rtol=1e-12)  # it adds
    checks.assert_gradient(lambda w: 0.3 * orthogonality(w, columns)[0], wide, dw)


def test_vectors_without_a_direction_and_one_alone(device: Device) -> None:
    """A zero is at right angles to everything; one vector has no other; a tiny one is scaled by 1e7 at most."""
    w = checks.on(device, np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1e-8]]))
    np.testing.assert_allclose(checks.host(orthogonality(w)), [0.08 / 3], rtol=1e-12)
    dw = checks.on(device, np.zeros((3, 2)))
    add_orthogonality_gradient(w, dw, 3.0)
    tiny = 0.1 * np.array([0.6, 0.8])  # of the third vector: w = 1e-8 (0, 1)
    along = 0.08 * np.array([0.6, 0.8])
    np.testing.assert_allclose(checks.host(dw)[0], (np.array([0, 0.1]) - along) / 5, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(checks.host(dw)[1:], [[0, 0], tiny * 1e8], rtol=1e-12)
    alone = checks.on(device, np.ones((1, 3)))
    dw = checks.on(device, np.zeros((1, 3)))
    add_orthogonality_gradient(alone, dw, 1.0)
    assert checks.host(orthogonality(alone))[0] == 0 and not checks.host(dw).any()


def test_the_regularizer() -> None:
    assert regularizers.OrthogonalRegularizer(2.0)([[1.0, 0.0], [1.0, 1.0]]) == pytest.approx(2 / np.sqrt(2))
    assert regularizers.OrthogonalRegularizer(2.0, "columns")([[1.0, 0.0], [1.0, 1.0]]) == pytest.approx(np.sqrt(2))
    made = regularizers.get("orthogonal_regularizer")
    assert made.get_config() == {"factor": 0.01, "mode": "rows"} and made.factors is None
    again = regularizers.deserialize(regularizers.serialize(regularizers.OrthogonalRegularizer(0.5, "columns")))
    assert again.get_config() == {"factor": 0.5, "mode": "columns"}
    with pytest.raises(ValueError, match="OrthogonalRegularizer: mode must be one of 'rows', 'columns'; got 'both'"):
        regularizers.OrthogonalRegularizer(mode="both")
    with pytest.raises(ValueError, match=r"w must have 2 axes, \(rows, columns\); got shape \(2, 2, 2\)"):
        made([[[1.0, 0.0], [1.0, 1.0]]] * 2)
