"""Parameters: values, gradients, what they refuse."""

from __future__ import annotations

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import Device
from gpunet.parameters import Parameter


def _parameter(device: Device, trainable: bool = True) -> Parameter:
    return Parameter(checks.on(device, np.float32([[1, 2], [3, 4]])), "kernel", trainable, path="dense/kernel")


def test_what_it_tells(device: Device) -> None:
    w = _parameter(device)
    assert (w.shape, w.dtype, w.size, w.nbytes, w.device) == ((2, 2), np.float32, 4, 16, device)
    assert (w.name, w.path) == ("kernel", "dense/kernel")
    assert repr(w) == f"<Parameter dense/kernel, shape=(2, 2), dtype=float32, device={device}>"
    assert "frozen" in repr(_parameter(device, trainable=False))
    np.testing.assert_array_equal(np.asarray(w), [[1, 2], [3, 4]])


def test_numpy_is_a_copy(device: Device) -> None:
    w = _parameter(device)
    w.numpy()[0, 0] = 9
    assert w.numpy()[0, 0] == 1


def test_assign_copies_into_the_same_memory(device: Device) -> None:
    w = _parameter(device)
    value, new = w.value, np.array([[5, 6], [7, 8]])
    w.assign(new)
    assert w.value is value
    new[0, 0] = 9
    np.testing.assert_array_equal(w.numpy(), [[5, 6], [7, 8]])
    w.assign(checks.on(device, np.float32([[0, 1], [2, 3]])))
    np.testing.assert_array_equal(w.numpy(), [[0, 1], [2, 3]])


def test_gradients_add_up_and_frozen_ones_take_none(device: Device) -> None:
    w, frozen = _parameter(device), _parameter(device, trainable=False)
    for value in (1, 2):
        gradient = checks.on(device, np.full((2, 2), value, np.float32))
        w.add_gradient(gradient)
        frozen.add_gradient(gradient)
    np.testing.assert_array_equal(checks.host(w.gradient), np.full((2, 2), 3))
    assert frozen.gradient is None


def test_gradients_are_contiguous_whatever_was_given(device: Device) -> None:
    w = _parameter(device)
    strided = checks.on(device, np.float32([[1, 2], [3, 4]])).T
    for _ in range(2):
        w.add_gradient(strided)
    assert w.gradient is not None and w.gradient.flags.c_contiguous
    np.testing.assert_array_equal(checks.host(w.gradient), [[2, 6], [4, 8]])


def test_bad_values(device: Device) -> None:
    w = _parameter(device)
    with pytest.raises(ValueError, match=r"dense/kernel: value must have shape \(2, 2\); got \(2,\)"):
        w.assign([1, 2])
    with pytest.raises(TypeError, match="dense/kernel: value must hold real numbers; got dtype complex128"):
        w.assign(np.full((2, 2), 1j))
    with pytest.raises(
        ValueError, match=r"gradient must have shape \(2, 2\) and dtype float32; got \(2, 2\) and float64"
    ):
        w.add_gradient(checks.on(device, np.ones((2, 2))))
    np.testing.assert_array_equal(w.numpy(), [[1, 2], [3, 4]])
