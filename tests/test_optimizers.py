"""SGD and Adam (kernels sgd.cu, adam.cu, optimizer_step.cu): ops, ten steps, learning rates, frozen weights, names."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet import constraints, optimizers
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.ops.adam import adam
from gpunet.ops.optimizer_step import advance, advance_adam, power
from gpunet.ops.sgd import sgd, sgd_momentum
from gpunet.ops.update import PIECE, THREADS
from gpunet.parameters import Parameter

WIDE = np.float64
SHAPES = [(1,), (THREADS - 1,), (THREADS + 1,), (3, 3, 4, 5)]
RATES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}),
]


def _gradients(shape: tuple[int, ...], steps: int = 10) -> list[HostArray]:
    return [checks.normal(*shape, seed=step + 1) for step in range(steps)]


def _steps(device: Device, optimizer: optimizers.Optimizer, w: HostArray, gradients: list[HostArray]) -> list[Array]:
    parameter, steps = Parameter(checks.on(device, w), "w"), []
    for g in gradients:
        parameter.gradient = checks.on(device, g)
        optimizer.apply([parameter])
        steps.append(parameter.numpy())
    return steps


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name, arguments", RATES)
def test_ten_steps(device: Device, name: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    w, gradients = checks.normal(*shape), _gradients(shape)
    exact = getattr(oracle, name.lower())(w.astype(WIDE), [g.astype(WIDE) for g in gradients], **arguments)
    plain = getattr(oracle, name.lower())(w, gradients, **arguments)
    optimizer = getattr(optimizers, name)(**arguments)
    for step, actual in enumerate(_steps(device, optimizer, w, gradients)):
        checks.assert_as_exact_as_plain(actual, exact[step], plain[step])
    assert optimizer.iterations == 10
    double = getattr(optimizers, name)(**arguments)
    for step, actual in enumerate(_steps(device, double, w.astype(WIDE), [g.astype(WIDE) for g in gradients])):
        checks.assert_close_in_double(actual, exact[step])


@pytest.mark.parametrize("name, arguments", RATES)
def test_same_bits_on_every_device_and_at_every_run(device: Device, name: str, arguments: dict[str, Any]) -> None:
    """Every operation of an update is rounded by itself; only numbers below 1e-38 may differ, which a GPU drops."""
    w, gradients = checks.normal(PIECE + 3), _gradients((PIECE + 3,), 3)
    first, second, on_cpu = (
        _steps(place, getattr(optimizers, name)(**arguments), w, gradients)[-1] for place in (device, device, CPU)
    )
    checks.assert_same_bits(first, second)
    checks.assert_same_bits(first, on_cpu)


def test_ops_change_weights_and_slots_in_place(device: Device) -> None:
    w, g, m, v = checks.on(device, *(np.float32([x]) for x in (1, 2, 0.5, 4)))
    rate = checks.on(device, np.array([0.5]))
    sgd(w, g, rate)
    np.testing.assert_array_equal(checks.host(w), [0])
    sgd_momentum(w, g, m, rate, 0.5, nesterov=False)
    np.testing.assert_array_equal([checks.host(w)[0], checks.host(m)[0]], [-0.75, -0.75])
    sgd_momentum(w, g, m, rate, 0.5, nesterov=True)
    np.testing.assert_array_equal([checks.host(w)[0], checks.host(m)[0]], [-2.4375, -1.375])
    adam(w, g, m, v, rate, 0.5, 0.75, 1.0)
    np.testing.assert_array_equal([checks.host(a)[0] for a in (m, v)], [0.3125, 4])
    np.testing.assert_allclose(checks.host(w), [-2.4375 - 0.5 * 0.3125 / 3], rtol=1e-6)
    np.testing.assert_array_equal(checks.host(g), [2])


@pytest.mark.parametrize("t", [1, 2, 3, 1000, 10**6, 10**12])
def test_bias_correction_in_double(device: Device, t: int) -> None:
    iterations, rate, step_size = checks.on(device, np.array([t - 1]), np.array([0.25]), np.zeros(1))
    advance_adam(iterations, rate, step_size, 0.9, 0.999)
    assert checks.host(iterations)[0] == t
    expected = 0.25 * np.sqrt(-np.expm1(t * np.log(0.999))) / -np.expm1(t * np.log(0.9))
    np.testing.assert_allclose(checks.host(step_size), [expected], rtol=1e-12)
    expected_bits = 0.25 * np.sqrt(1 - power(0.999, t)) / (1 - power(0.9, t))
    checks.assert_same_bits(step_size, np.array([expected_bits]))
    advance(iterations)
    assert checks.host(iterations)[0] == t + 1


def test_the_learning_rate_may_change_at_any_time(device: Device) -> None:
    optimizer = optimizers.SGD(0.5)
    assert optimizer.learning_rate == 0.5
    parameter = Parameter(checks.on(device, np.float32([1, 2])), "w")
    optimizer.build([parameter])
    for rate in (0.25, 0.0, 1.0):
        optimizer.learning_rate = rate
        assert optimizer.learning_rate == rate
        before = parameter.numpy()
        parameter.gradient = checks.on(device, np.float32([1, -1]))
        optimizer.apply([parameter])
        np.testing.assert_array_equal(parameter.numpy(), before - np.float32([rate, -rate]))
    assert optimizer.get_config()["learning_rate"] == 1.0


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_frozen_parameters_keep_their_bits_and_have_no_slots(device: Device, name: str) -> None:
    optimizer = optimizers.SGD(0.1, momentum=0.9) if name == "SGD" else optimizers.Adam(0.1)
    frozen = Parameter(checks.on(device, checks.normal(5)), "a", trainable=False, constraint=constraints.NonNeg())
    trained = Parameter(checks.on(device, checks.normal(5)), "b")
    before = frozen.numpy()
    for _ in range(3):
        frozen.gradient = checks.on(device, checks.normal(5))
        trained.gradient = checks.on(device, checks.normal(5))
        optimizer.apply([frozen, trained])
    checks.assert_same_bits(frozen.value, before)
    assert frozen.gradient is None and trained.gradient is None
    assert not any(name.startswith("a/") for name in optimizer.variables)
    frozen.trainable = True  # slots come with the first step
    frozen.gradient = checks.on(device, np.ones(5, np.float32))
    optimizer.apply([frozen])
    assert (checks.host(frozen.value) != before).all()
    assert {"a/momentum", "b/momentum"} <= set(optimizer.variables)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_step_reads_nothing_back(device: Device, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == CPU:
        pytest.skip("the host reads its own memory")
    optimizer, parameter = getattr(optimizers, name)(), Parameter(checks.on(device, checks.normal(5)), "w")
    parameter.constraint = constraints.MaxNorm()
    optimizer.build([parameter])

    def forbidden(array: Any) -> Any:
        raise AssertionError("read back")

    with monkeypatch.context() as patch:
        patch.setattr(type(parameter.value), "get", forbidden)
        for _ in range(2):
            parameter.gradient = checks.on(device, checks.normal(5))
            optimizer.apply([parameter])
    assert optimizer.iterations == 2


def test_parameters_without_gradient_are_left_alone(device: Device) -> None:
    optimizer = optimizers.SGD(0.5)
    used = Parameter(checks.on(device, np.float32([1])), "used")
    unused = Parameter(checks.on(device, np.float32([1])), "unused", constraint=constraints.MaxNorm(0.5))
    used.gradient = checks.on(device, np.float32([1]))
    optimizer.apply([used, unused])
    assert used.numpy()[0] == 0.5 and unused.numpy()[0] == 1
    optimizer.apply([])
    assert optimizer.iterations == 1


def test_constraints_are_applied_after_the_update(device: Device) -> None:
    parameter = Parameter(checks.on(device, np.float32([1, 1])), "w", constraint=constraints.NonNeg())
    parameter.gradient = checks.on(device, np.float32([3, -3]))
    optimizers.SGD(1.0).apply([parameter])
    np.testing.assert_array_equal(parameter.numpy(), [0, 4])


@pytest.mark.parametrize("name, arguments", RATES[1:4])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(
    device: Device, name: str, arguments: dict[str, Any]
) -> None:
    w, gradients = checks.normal(40), _gradients((40,), 8)
    whole = _steps(device, getattr(optimizers, name)(**arguments), w, gradients)
    first = getattr(optimizers, name)(**arguments)
    middle = _steps(device, first, w, gradients[:4])[-1]
    saved = {key: checks.host(value).copy() for key, value in first.variables.items()}
    parameter, second = Parameter(checks.on(device, middle), "w"), getattr(optimizers, name)()
    second = type(second).from_config(first.get_config())
    second.build([parameter])
    second.set_variables(saved)
    for g in gradients[4:]:
        parameter.gradient = checks.on(device, g)
        second.apply([parameter])
    checks.assert_same_bits(parameter.value, whole[-1])


def test_set_variables_checks_before_it_changes(device: Device) -> None:
    optimizer = optimizers.Adam()
    optimizer.build([Parameter(checks.on(device, checks.normal(3)), "w")])
    saved = {name: checks.host(value).copy() for name, value in optimizer.variables.items()}
    assert set(saved) == {"iterations", "learning_rate", "w/momentum", "w/velocity"}
    saved["iterations"] += 5
    with pytest.raises(ValueError, match=r"adam: w/velocity must have shape \(3,\); got \(4,\)"):
        optimizer.set_variables(saved | {"w/velocity": np.zeros(4)})
    del saved["w/velocity"]
    with pytest.raises(ValueError, match="adam: values must have the names of the optimizer's variables; w/velocity"):
        optimizer.set_variables(saved)
    assert optimizer.iterations == 0


def test_get_serialize_and_back() -> None:
    for name, expected in {"adam": optimizers.Adam, "Adam": optimizers.Adam, "ADAM": optimizers.Adam}.items():
        assert type(optimizers.get(name)) is expected
    for name in ("sgd", "SGD"):
        assert type(optimizers.get(name)) is optimizers.SGD
    assert type(optimizers.get(optimizers.SGD)) is optimizers.SGD
    optimizer = optimizers.SGD(0.5, momentum=0.25, nesterov=True, name="mine")
    assert optimizers.get(optimizer) is optimizer
    config = {"name": "mine", "learning_rate": 0.5, "momentum": 0.25, "nesterov": True}
    assert optimizers.serialize(optimizer) == {"class_name": "SGD", "config": config}
    assert optimizers.deserialize(optimizers.serialize(optimizer)).get_config() == config
    config = {"name": "adam", "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
    assert optimizers.Adam().get_config() == config
    assert optimizers.get({"class_name": "Adam", "config": config}).get_config() == config


def test_bad_arguments_are_refused() -> None:
    for rate in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="Adam: learning_rate must be finite and at least 0; got"):
            optimizers.Adam(rate)
    with pytest.raises(TypeError, match=r"SGD: learning_rate must be a number; got '0.1'"):
        optimizers.SGD("0.1")
    optimizer = optimizers.SGD(0.5)
    with pytest.raises(ValueError, match="sgd: learning_rate must be finite and at least 0; got nan"):
        optimizer.learning_rate = np.nan
    assert optimizer.learning_rate == 0.5
    with pytest.raises(ValueError, match=r"SGD: momentum must be from 0 to 1; got 1.5"):
        optimizers.SGD(momentum=1.5)
    with pytest.raises(TypeError, match="SGD: nesterov must be True or False; got 1"):
        optimizers.SGD(nesterov=1)
    with pytest.raises(ValueError, match=r"Adam: beta_1 must be from 0 to 1; got 1.0"):
        optimizers.Adam(beta_1=1.0)
    with pytest.raises(ValueError, match="Adam: epsilon must be finite and at least 0; got -1"):
        optimizers.Adam(epsilon=-1)
    with pytest.raises(ValueError, match=r"optimizer must be one of 'adadelta', 'adafactor', .*'sgd'; got 'rprop'"):
        optimizers.get("rprop", "compile: optimizer")
    with pytest.raises(TypeError, match=r"identifier must be a name or a Optimizer; got 0.1"):
        optimizers.get(0.1)


def test_clipping_and_decay_are_arguments() -> None:
    optimizer = optimizers.Adam(weight_decay=0.1, global_clipnorm=2)
    config = optimizer.get_config()
    assert config["weight_decay"] == 0.1 and config["global_clipnorm"] == 2.0 and "clipnorm" not in config
    assert optimizers.Adam.from_config(config).get_config() == config
    with pytest.raises(
        ValueError, match="SGD: only one of clipnorm, clipvalue, global_clipnorm must be given; got clip"
    ):
        optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="Adam: clipnorm must be finite and at least 0; got -1"):
        optimizers.Adam(clipnorm=-1)
    with pytest.raises(TypeError, match="Adam: weight_decay must be a number; got 'a'"):
        optimizers.Adam(weight_decay="a")
    optimizer.build([Parameter(np.float32([1]), "w")])
    with pytest.raises(
        ValueError, match="adam: exclude_from_weight_decay must be called before the optimizer is built"
    ):
        optimizer.exclude_from_weight_decay(var_names=["w"])


def test_bad_use_is_refused(device: Device) -> None:
    first, second = (Parameter(checks.on(device, np.float32([1, 2])), "w") for _ in range(2))
    with pytest.raises(ValueError, match="sgd: parameters must have different paths; got 'w' more than once"):
        optimizers.SGD().build([first, second])
    optimizer = optimizers.SGD()
    with pytest.raises(ValueError, match="sgd: parameters must have gradients; got none; run a backward pass first"):
        optimizer.apply([first])
    second.gradient = checks.on(device, np.float32([1, 2]))
    with pytest.raises(ValueError, match="sgd: parameters must be those that the optimizer was built for; got w"):
        optimizer.apply([second])
    assert optimizer.iterations == 0
    np.testing.assert_array_equal(second.numpy(), [1, 2])
    if device != CPU:
        other = Parameter(np.float32([1]), "other")
        with pytest.raises(TypeError, match="sgd: parameters must be on one device; got w on"):
            optimizers.SGD().build([first, other])


def test_bad_input_of_ops_is_refused(device: Device) -> None:
    w, g, rate = checks.on(device, checks.normal(4), checks.normal(5), np.array([0.1]))
    with pytest.raises(ValueError, match=r"sgd: gradient must have shape \(4,\); got \(5,\)"):
        sgd(w, g, rate)
    with pytest.raises(TypeError, match="sgd: learning_rate must be float64; got float32"):
        sgd(w, w, checks.on(device, np.float32([0.1])))
    with pytest.raises(ValueError, match="sgd: w must be C-contiguous"):
        sgd(w[::2], w[::2], rate)
    with pytest.raises(ValueError, match=r"sgd_momentum: velocity must have shape \(4,\); got \(5,\)"):
        sgd_momentum(w, w, g, rate, 0.9, False)
    with pytest.raises(ValueError, match=r"adam: step_size must have shape \(1,\); got \(2,\)"):
        adam(w, w, w, w, checks.on(device, np.zeros(2)), 0.9, 0.999, 1e-7)
    with pytest.raises(TypeError, match="adam: all arrays must have one dtype"):
        adam(w, w, w, checks.on(device, np.zeros(4)), rate, 0.9, 0.999, 1e-7)
    with pytest.raises(TypeError, match="advance: iterations must be int64; got int32"):
        advance(checks.on(device, np.zeros(1, np.int32)))


def test_an_own_optimizer_is_a_subclass() -> None:
    class SignDescent(optimizers.Optimizer):
        slot_names = ("last",)

        def update(self, w: Array, gradient: Array, slots: Any) -> None:
            slots["last"][...] = gradient
            w -= np.float32(self.learning_rate) * np.sign(gradient)

    optimizer = optimizers.get(SignDescent(0.5))
    parameter = Parameter(np.float32([1, 2]), "w")
    parameter.gradient = np.float32([3, -4])
    optimizer.apply([parameter])
    np.testing.assert_array_equal(parameter.numpy(), [0.5, 2.5])
    np.testing.assert_array_equal(optimizer.variables["w/last"], [3, -4])
    assert optimizer.iterations == 1 and optimizer.name == "sign_descent"
