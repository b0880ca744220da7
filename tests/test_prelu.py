"""ReLU with a trained slope (prelu.cu): values, both gradients, every way to share a slope; the layer PReLU."""

from __future__ import annotations

import checks
import layer_checks
import numpy as np
import oracle_pointwise as oracle
import pytest

import gpunet
from gpunet.backend.arrays import CPU, Device
from gpunet.layers import PReLU
from gpunet.ops import prelu as prelu_module
from gpunet.ops.prelu import MOST_GROUPS, PER_SPLIT, prelu, prelu_alpha_gradient, prelu_gradient

# Shapes of x and alpha: none shared; all but channels, with more channels than a block's; all; the last; every other
# axis; more elements of an alpha than one block adds up, of one alpha and of several.
CASES = [
    ((3, 5), (5,)),
    ((2, 3, 4, MOST_GROUPS + 1), (1, 1, MOST_GROUPS + 1)),
    ((4, 3, 2), (1, 1)),
    ((4, 3, 7), (3, 1)),
    ((2, 3, 4, 5, 2), (3, 1, 5, 1)),
    ((PER_SPLIT + 1,), ()),
    ((3, PER_SPLIT, 2), (1, 2)),
]


@pytest.mark.parametrize("shape, alphas", CASES)
def test_values_and_gradients(device: Device, shape: tuple[int, ...], alphas: tuple[int, ...]) -> None:
    x, dy = checks.normal(*shape), checks.normal(*shape, seed=1)
    x.flat[0] = 0
    alpha = np.asarray(checks.normal(*alphas, seed=2))
    x_device, dy_device, alpha_device = checks.on(device, x, dy, alpha)
    y, dx = prelu(x_device, alpha_device), prelu_gradient(dy_device, x_device, alpha_device)
    checks.assert_same_bits(y, prelu(x, alpha))
    np.testing.assert_allclose(checks.host(y), oracle.prelu(x, alpha), rtol=1e-6)
    plain, plain_alpha = oracle.prelu_gradients(dy, x, alpha)
    np.testing.assert_array_equal(checks.host(dx), plain)
    dalpha = checks.on(device, np.full_like(alpha, np.nan))
    prelu_alpha_gradient(dy_device, x_device, dalpha)
    _, exact = oracle.prelu_gradients(*(a.astype(np.float64) for a in (dy, x, alpha)))
    checks.assert_as_exact_as_plain(dalpha, exact, plain_alpha)


@pytest.mark.parametrize("piece", [2, 7, 64])
@pytest.mark.parametrize("shape, alphas", [CASES[1], CASES[3], CASES[4], ((50,), ())])
def test_pieces_on_the_cpu(
    shape: tuple[int, ...], alphas: tuple[int, ...], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, dy, alpha = checks.normal(*shape), checks.normal(*shape, seed=1), np.asarray(checks.normal(*alphas, seed=2))
    monkeypatch.setattr(prelu_module, "PIECE", piece)
    np.testing.assert_array_equal(prelu(x, alpha), oracle.prelu(x, alpha))
    dx, _ = oracle.prelu_gradients(dy, x, alpha)
    _, exact = oracle.prelu_gradients(*(a.astype(np.float64) for a in (dy, x, alpha)))
    np.testing.assert_array_equal(prelu_gradient(dy, x, alpha), dx)
    dalpha = np.full_like(alpha, np.nan)
    prelu_alpha_gradient(dy, x, dalpha)
    np.testing.assert_allclose(dalpha, exact, rtol=1e-4, atol=1e-5)


def test_a_nan_stays_one_and_infinite_gradients_do_not_become_one(device: Device) -> None:
    x, alpha, dy = checks.on(device, np.float32([[np.nan, 2.0]]), np.float32([0, 0]), np.float32([[1, np.inf]]))
    np.testing.assert_array_equal(checks.host(prelu(x, alpha)), [[np.nan, 2]])
    np.testing.assert_array_equal(checks.host(prelu_gradient(dy, x, alpha)), [[0, np.inf]])


def test_errors() -> None:
    x = np.ones((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match=r"prelu: alpha must have the sizes \(3, 4\), or 1; got shape \(4,\)"):
        prelu(x, x[0, 0])
    with pytest.raises(ValueError, match=r"prelu_gradient: dy must have shape \(2, 3, 4\); got \(3, 4\)"):
        prelu_gradient(x[0], x, x[0])
    with pytest.raises(ValueError, match="prelu_alpha_gradient: dalpha must be C-contiguous"):
        prelu_alpha_gradient(x, x, np.ones((4, 3), np.float32).T)


@pytest.mark.parametrize("shared", [None, 2, [1, 2]])
def test_the_layer(device: Device, shared: int | list[int] | None) -> None:
    layer = PReLU(gpunet.initializers.RandomNormal(0, 1), "l2", "non_neg", shared, dtype="float64")
    again = layer_checks.assert_config_comes_back(layer)
    layer_checks.assert_layer_gradients(layer, checks.normal(2, 3, 4, 5, dtype=np.float64), device)
    shape = {None: (3, 4, 5), 2: (3, 1, 5)}.get(shared, (1, 1, 5)) if not isinstance(shared, list) else (1, 1, 5)
    assert layer.alpha.shape == shape and layer.alpha.constraint is not None and layer.alpha.regularizer is not None
    assert again.shared_axes == (None if shared is None else [2] if shared == 2 else [1, 2])


def test_errors_of_the_layer() -> None:
    with pytest.raises(ValueError, match=r"PReLU 'p': shared_axes must be from 1 to 2 for inputs of .*; got \[3\]"):
        PReLU(shared_axes=[1, 3], name="p").build((None, 4, 5))
    with pytest.raises(ValueError, match=r"PReLU 'p': input must have known sizes .*; got \(None, None, 5\)"):
        PReLU(name="p").build((None, None, 5))
    layer = PReLU(shared_axes=1, name="p")
    layer.build((None, None, 5))
    assert layer(np.full((2, 7, 5), -1.0)).shape == (2, 7, 5)
    with pytest.raises(ValueError, match=r"PReLU 'p': input must fit alpha of shape \(1, 5\); got \(2, 7, 6\)"):
        layer(np.ones((2, 7, 6)))


def test_only_the_gradients_that_are_wanted_are_computed(device: Device) -> None:
    x = checks.on(device, checks.normal(2, 3))
    for trainable, wanted in ((False, True), (True, False)):
        layer = PReLU("ones", trainable=trainable)
        layer.build((None, 3))
        layer.prepare_gradients(wanted)
        y, backward = layer.apply(x, True)
        with checks.recorded_launches() as made:
            dx = backward(y)
        assert (dx is not None) == wanted and (layer.alpha.gradient is not None) == trainable
        if device != CPU:
            assert [one.entry for one in made] == ["prelu_gradient" if wanted else "prelu_alpha_gradient"]
