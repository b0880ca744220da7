"""Regularizers: values and gradients (kernels regularization.cu), names and arguments as in Keras."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet import regularizers
from gpunet.backend.arrays import Array, Device, HostArray
from gpunet.ops.regularization import CHUNK, THREADS, add_penalty_gradient, penalty

SHAPES = [(1,), (THREADS - 1,), (THREADS + 1,), (3, 3, 4, 5), (CHUNK - 1,), (CHUNK,), (CHUNK + 1,)]
FACTORS = [(0.3, 0.0), (0.0, 0.2), (0.1, 0.4), (0.0, 0.0)]
WIDE = np.float64


@pytest.mark.parametrize("l1, l2", FACTORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_penalty(device: Device, shape: tuple[int, ...], l1: float, l2: float) -> None:
    w, start = checks.normal(*shape), checks.normal(*shape, seed=1)
    w.flat[0] = 0
    value = penalty(checks.on(device, w), l1, l2)
    checks.assert_as_exact_as_plain(value, oracle.penalty(w.astype(WIDE), l1, l2), oracle.penalty(w, l1, l2))
    w_device, dw = checks.on(device, w, start)
    add_penalty_gradient(w_device, dw, l1, l2)
    exact = start + oracle.penalty_gradient(w.astype(WIDE), l1, l2)
    checks.assert_as_exact_as_plain(dw, exact, start + oracle.penalty_gradient(w, l1, l2))
    checks.assert_same_bits(w_device, w)
    assert checks.host(dw).flat[0] == start.flat[0]  # sign(0) is 0


@pytest.mark.parametrize("l1, l2", FACTORS[:3])
def test_gradient_against_differences(device: Device, l1: float, l2: float) -> None:
    w = checks.normal(5, 7, dtype=WIDE)
    w_device, dw = checks.on(device, w, np.zeros_like(w))
    regularizer = regularizers.L1L2(l1, l2)
    regularizer.add_gradient(w_device, dw)
    checks.assert_gradient(lambda w: checks.host(regularizer.value(checks.on(device, w)))[0], w, dw)


def test_large_arrays_are_summed_in_a_fixed_order(device: Device) -> None:
    w = checks.on(device, checks.normal(5 * CHUNK + 3))
    checks.assert_same_bits(penalty(w, 0.1, 0.2), penalty(w, 0.1, 0.2))
    exact = oracle.penalty(checks.host(w).astype(WIDE), 0.1, 0.2)
    checks.assert_as_exact_as_plain(penalty(w, 0.1, 0.2), exact, oracle.penalty(checks.host(w), 0.1, 0.2))


def test_values_are_device_arrays_and_calls_numbers(device: Device) -> None:
    w = checks.on(device, np.float32([[1, -2], [3, 0]]))
    value = regularizers.L1(0.5).value(w)
    assert type(value) is type(w) and value.shape == (1,) and value.dtype == np.float32
    assert regularizers.L1(0.5)(w) == 3
    assert regularizers.L2(0.5)(w) == 7
    assert regularizers.L1L2(l1=0.5, l2=0.5)(w) == 10
    assert regularizers.L2(0.5)([[1, 2]]) == 2.5


def test_strided_gradients_are_refused(device: Device) -> None:
    w, dw = checks.on(device, checks.normal(4, 4), checks.normal(4, 8))
    with pytest.raises(ValueError, match="add_penalty_gradient: dw must be C-contiguous"):
        add_penalty_gradient(w, dw[:, ::2], 0.1, 0.1)
    with pytest.raises(ValueError, match=r"add_penalty_gradient: dw must have shape \(4, 4\); got \(4, 8\)"):
        add_penalty_gradient(w, dw, 0.1, 0.1)
    with pytest.raises(TypeError, match="penalty: w must be float32 or float64; got int64"):
        penalty(checks.on(device, np.ones(3, np.int64)), 0.1, 0.1)
    exact = oracle.penalty(checks.host(dw)[:, ::2].astype(WIDE), 0.1, 0.2)
    np.testing.assert_allclose(checks.host(penalty(dw[:, ::2], 0.1, 0.2)), exact, rtol=1e-6)


def test_names_and_defaults() -> None:
    for name in ("l1", "L1"):
        assert regularizers.get(name).get_config() == {"l1": 0.01}
    for name in ("l2", "L2"):
        assert regularizers.get(name).get_config() == {"l2": 0.01}
    assert regularizers.get("l1_l2").get_config() == {"l1": 0.01, "l2": 0.01}
    assert regularizers.get("L1L2").get_config() == {"l1": 0.0, "l2": 0.0}
    assert (regularizers.l1, regularizers.l2, regularizers.l1_l2) == (
        regularizers.L1,
        regularizers.L2,
        regularizers.L1L2,
    )
    assert regularizers.get(None) is None


def test_serialize_and_back() -> None:
    for regularizer in (regularizers.L1(0.5), regularizers.L2(0.25), regularizers.L1L2(0.5, 0.25)):
        config = regularizers.serialize(regularizer)
        copy = regularizers.deserialize(config)
        assert type(copy) is type(regularizer) and copy.get_config() == regularizer.get_config()
        assert type(regularizer).from_config(regularizer.get_config()).get_config() == regularizer.get_config()
        assert regularizers.get(regularizer) is regularizer
    assert regularizers.serialize(None) is None


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="L1: l1 must be finite and at least 0; got -1"):
        regularizers.L1(-1)
    with pytest.raises(ValueError, match="L2: l2 must be finite and at least 0; got nan"):
        regularizers.L2(np.nan)
    with pytest.raises(TypeError, match=r"L1L2: l1 must be a number; got '0.1'"):
        regularizers.L1L2("0.1")
    with pytest.raises(ValueError, match=r"Dense: kernel_regularizer must be one of 'l1', .*; got 'l3'"):
        regularizers.get("l3", "Dense: kernel_regularizer")
    with pytest.raises(TypeError, match=r"regularizer must be a name or a Regularizer; got 0.1"):
        regularizers.get(0.1)


def test_an_own_regularizer_is_a_subclass() -> None:
    class Sum(regularizers.Regularizer):
        def value(self, w: Array) -> HostArray:
            return w.sum(keepdims=True).reshape(1)

        def add_gradient(self, w: Array, dw: Array) -> None:
            dw += 1

    assert regularizers.get(Sum)([1, 2]) == 3
    with pytest.raises(NotImplementedError, match="Sum: get_config must be defined"):
        Sum().get_config()
