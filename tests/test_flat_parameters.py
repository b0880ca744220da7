"""Parameters side by side (ops/flat.py, optimizers/flat.py): where they lie, who moves them, kernels a step."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Dense, Input, Sequential, constraints, optimizers, regularizers
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.ops.flat import BLOCK, Layout
from gpunet.parameters import Parameter


def _parameters(device: Device, *shapes: tuple[int, ...], **kwargs: Any) -> list[Parameter]:
    values = [checks.on(device, checks.normal(*shape, seed=number)) for number, shape in enumerate(shapes)]
    return [Parameter(value, f"w{number}", **kwargs) for number, value in enumerate(values)]


def _fill(parameters: list[Parameter], seed: int = 9) -> None:
    for number, parameter in enumerate(parameters):
        gradient = checks.normal(*parameter.shape, seed=seed + number)
        parameter.add_gradient(checks.on(parameter.device, gradient))


def _end(array: Array) -> int:
    """Return where the memory of a contiguous device array ends."""
    return _begin(array) + array.nbytes


def _begin(array: Array) -> int:
    return int(array.data.ptr if hasattr(array.data, "ptr") else array.ctypes.data)


def test_layout() -> None:
    layout = Layout([(3, BLOCK), (1,), (BLOCK + 1,), ()])
    assert layout.sizes == (3 * BLOCK, 1, BLOCK + 1, 1)
    assert layout.starts == (0, 3 * BLOCK, 4 * BLOCK, 6 * BLOCK)
    assert layout.size == 7 * BLOCK
    np.testing.assert_array_equal(layout.owners(), [0, 0, 0, 1, 2, 2, 3])
    assert layout.span(1, 3) == slice(3 * BLOCK, 6 * BLOCK)
    flat = np.arange(layout.size)
    views = layout.views(flat)
    assert [view.shape for view in views] == list(layout.shapes)
    assert [int(view.flat[0]) for view in views] == list(layout.starts)
    assert all(view.base is flat or view.base is flat.base for view in views)


def test_values_gradients_and_slots_lie_side_by_side(device: Device) -> None:
    parameters = _parameters(device, (3, 5), (5,), (BLOCK + 1,))
    before = [parameter.numpy() for parameter in parameters]
    optimizer = optimizers.Adam()
    optimizer.build(parameters)
    for parameter, value in zip(parameters, before, strict=True):
        checks.assert_same_bits(parameter.value, value)
        assert parameter.gradient_target() is parameter.gradient_space
    for name in ("value", "gradient_space"):
        arrays = [getattr(parameter, name) for parameter in parameters]
        itemsize, blocks = arrays[0].itemsize, [1, 1, 2]
        starts = [_begin(array) - _begin(arrays[0]) for array in arrays]
        assert starts == [BLOCK * itemsize * sum(blocks[:number]) for number in range(3)]
    kept = [parameter.value for parameter in parameters]
    for _ in range(2):
        _fill(parameters)
        optimizer.apply(parameters)
    assert all(parameter.value is array for parameter, array in zip(parameters, kept, strict=True))
    assert [optimizer.variables[f"w{n}/velocity"].shape for n in range(3)] == [(3, 5), (5,), (BLOCK + 1,)]


EVERYTHING = {
    "regularizer": regularizers.L1L2(0.1, 0.2),
    "constraint": constraints.MaxNorm(1.0),
}


@pytest.mark.parametrize("clip", [{}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5}, {"clipvalue": 0.5}])
@pytest.mark.parametrize("kwargs", [{}, EVERYTHING], ids=["plain", "penalized and constrained"])
def test_many_parameters_take_as_many_kernels_as_few(device: Device, clip: Any, kwargs: Any) -> None:
    if device == CPU:
        pytest.skip("the CPU launches no kernels")
    counts = []
    for count in (2, 12):
        parameters = _parameters(device, *[(4, 7)] * count, **kwargs)
        optimizer = optimizers.Adam(weight_decay=0.1, **clip)
        optimizer.build(parameters)
        _fill(parameters)
        with checks.recorded_launches() as launches:
            optimizer.apply(parameters)
        counts.append([launch.entry for launch in launches])
    norms = [] if "clipvalue" in clip or not clip else ["gradient_squares", "clip_factors"]
    assert counts[0] == counts[1] == ["advance_adam", *norms, "prepare", "adam"] + (["limit_norms"] if kwargs else [])


def test_a_plain_step_is_two_kernels(device: Device) -> None:
    if device == CPU:
        pytest.skip("the CPU launches no kernels")
    parameters = _parameters(device, (4, 7), (7,), (3, 3, 2, 5))
    optimizer = optimizers.Adam()
    optimizer.build(parameters)
    _fill(parameters)
    with checks.recorded_launches() as launches:
        optimizer.apply(parameters)
    assert [launch.entry for launch in launches] == ["advance_adam", "adam"]


def _trained(device: Device, which: list[list[int]], **kwargs: Any) -> list[HostArray]:
    """Return the weights after a step for each list in `which`: the numbers of the parameters that have a gradient."""
    parameters = _parameters(device, (4, 7), (300,), (7,), (2, 3), **kwargs)
    optimizer = optimizers.Adam(0.1, weight_decay=0.1, global_clipnorm=1.0)
    for step, numbers in enumerate(which):
        optimizer.build(parameters)
        optimizer.arrange(parameters)
        _fill([parameters[number] for number in numbers], seed=20 * step)
        optimizer.apply(parameters)
    return [parameter.numpy() for parameter in parameters]


@pytest.mark.parametrize("kwargs", [{}, EVERYTHING], ids=["plain", "penalized and constrained"])
def test_parameters_without_gradient_keep_their_bits(device: Device, kwargs: Any) -> None:
    """Whichever they are, the others are changed as if they were alone."""
    start = [parameter.numpy() for parameter in _parameters(device, (4, 7), (300,), (7,), (2, 3))]
    after = _trained(device, [[0, 2, 3]], **kwargs)
    checks.assert_same_bits(after[1], start[1])
    assert all((after[n] != start[n]).any() for n in (0, 2, 3))
    alone = _parameters(device, (4, 7), (300,), (7,), (2, 3), **kwargs)
    del alone[1]
    optimizer = optimizers.Adam(0.1, weight_decay=0.1, global_clipnorm=1.0)
    for number, parameter in enumerate(alone):
        parameter.gradient = checks.on(device, checks.normal(*parameter.shape, seed=number))
    optimizer.apply(alone)
    for parameter, number in zip(alone, (0, 2, 3), strict=True):
        checks.assert_same_bits(parameter.value, after[number])


def test_freezing_takes_a_parameter_out_and_unfreezing_brings_it_back_with_its_slots(device: Device) -> None:
    first, second = _parameters(device, (5,), (6,))
    optimizer = optimizers.SGD(0.1, momentum=0.9)
    _fill([first, second])
    optimizer.apply([first, second])
    slot = checks.host(optimizer.variables["w0/momentum"]).copy()
    first.trainable = False
    frozen = first.numpy()
    _fill([first, second])
    optimizer.apply([first, second])
    assert first.gradient_space is None
    checks.assert_same_bits(first.value, frozen)
    checks.assert_same_bits(optimizer.variables["w0/momentum"], slot)
    first.trainable = True
    first.gradient = checks.on(device, np.zeros(5, np.float32))
    optimizer.apply([first, second])
    checks.assert_same_bits(optimizer.variables["w0/momentum"], slot * np.float32(0.9))


def test_two_optimizers_may_train_one_parameter_in_turns(device: Device) -> None:
    """As two models with a shared layer do: each finds the other's changes."""
    shared, own = _parameters(device, (5,), (6,))
    first, second = optimizers.SGD(0.5, momentum=0.5), optimizers.SGD(0.25)
    alone = Parameter(checks.on(device, shared.numpy()), "w0")
    third, fourth = optimizers.SGD(0.5, momentum=0.5), optimizers.SGD(0.25)
    for step in range(3):
        for optimizer, parameters in ((first, [shared, own]), (second, [shared])):
            _fill(parameters, seed=step)
            optimizer.apply(parameters)
        for optimizer in (third, fourth):
            _fill([alone], seed=step)
            optimizer.apply([alone])
    checks.assert_same_bits(shared.value, alone.value)
    checks.assert_same_bits(first.variables["w0/momentum"], third.variables["w0/momentum"])


def test_a_value_put_in_from_outside_is_taken_over(device: Device) -> None:
    (parameter,) = _parameters(device, (5,))
    optimizer = optimizers.SGD(1.0)
    _fill([parameter])
    optimizer.apply([parameter])
    parameter.value = checks.on(device, np.ones(5, np.float32))
    parameter.gradient = checks.on(device, np.ones(5, np.float32))
    optimizer.apply([parameter])
    np.testing.assert_array_equal(parameter.numpy(), np.zeros(5))


def test_both_dtypes_in_one_model(device: Device) -> None:
    single, double = _parameters(device, (5,), (5,))
    double.value = checks.on(device, double.numpy().astype(np.float64))
    optimizer = optimizers.SGD(0.5)
    before = [parameter.numpy() for parameter in (single, double)]
    single.gradient = checks.on(device, np.ones(5, np.float32))
    double.gradient = checks.on(device, np.ones(5, np.float64))
    optimizer.apply([single, double])
    assert single.dtype == np.float32 and double.dtype == np.float64
    for parameter, value in zip((single, double), before, strict=True):
        checks.assert_same_bits(parameter.value, value - parameter.dtype.type(0.5))
    optimizer = optimizers.SGD(0.5, global_clipnorm=1.0)
    with pytest.raises(ValueError, match="sgd: parameters must have one dtype for global_clipnorm; got 2"):
        optimizer.build([single, double])


def test_gradients_of_a_layer_used_twice_add_up_in_place(device: Device) -> None:
    layer = Dense(3, use_bias=False)
    model = Sequential([Input((3,)), layer, layer])
    model.compile("sgd", "mse")
    x = checks.normal(4, 3)
    model.fit(x, x, verbose=0, batch_size=4)  # lays the kernel out
    results = []
    for space in (layer.kernel.gradient_space, None):
        layer.kernel.gradient_space = space
        layer.kernel.gradient = None
        y, backward = model.forward(checks.on(device, x), True)
        backward(y)
        results.append(checks.host(layer.kernel.gradient).copy())
        assert space is None or layer.kernel.gradient is space
    checks.assert_same_bits(*results)


def test_own_regularizers_and_constraints_are_called(device: Device) -> None:
    class Steep(regularizers.L2):
        def add_gradient(self, w: Array, dw: Array) -> None:
            dw[...] = 100 * w

    class Halved(constraints.MaxNorm):
        def apply(self, w: Array) -> None:
            w[...] = w * w.dtype.type(0.5)

    kwargs: Any = {"regularizer": Steep(0.5), "constraint": Halved()}
    parameter = Parameter(checks.on(device, np.float32([1, -2])), "w", **kwargs)
    parameter.gradient = checks.on(device, np.float32([7, 7]))
    optimizers.SGD(0.01).apply([parameter])
    np.testing.assert_allclose(parameter.numpy(), [0, 0], atol=1e-6)
    parameter = Parameter(checks.on(device, np.float32([1, -2])), "w", constraint=Halved())
    parameter.gradient = checks.on(device, np.float32([0, 0]))
    optimizers.SGD(0.01).apply([parameter])
    np.testing.assert_array_equal(parameter.numpy(), [0.5, -1])


def test_another_regularizer_counts_from_the_next_step_on(device: Device) -> None:
    (parameter,) = _parameters(device, (3,))
    optimizer = optimizers.SGD(0.5)
    for regularizer in (None, regularizers.L2(0.5)):
        parameter.regularizer = regularizer
        before = parameter.numpy()
        parameter.gradient = checks.on(device, np.zeros(3, np.float32))
        optimizer.apply([parameter])
        checks.assert_same_bits(parameter.value, before if regularizer is None else before - before * np.float32(0.5))


def test_a_frozen_parameter_does_not_keep_the_memory_of_all(device: Device) -> None:
    first, second = _parameters(device, (5,), (6,))
    optimizer = optimizers.SGD(0.1)
    _fill([first, second])
    optimizer.apply([first, second])
    before, flat = first.numpy(), weakref.ref(optimizer._groups[0].values)
    first.trainable = False
    _fill([second])
    optimizer.apply([first, second])
    gc.collect()
    assert flat() is None
    checks.assert_same_bits(first.value, before)
