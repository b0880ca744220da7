"""Every public constructor, given anything at all: it works, or a ValueError or TypeError names the argument.

The constructors and their arguments are found by `inspect`: a new class is tested without a word here, but for an
argument without a default, for which REQUIRED has a value. GPUNET_TEST_LONG=1 makes it draw many more examples.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import hypothesis
import junk
import pytest
from hypothesis import strategies as st

import gpunet
from gpunet import callbacks, constraints, initializers, layers, losses, metrics, models, optimizers, regularizers

MODULES = (
    *(layers, losses, metrics, optimizers, optimizers.schedules),
    *(initializers, regularizers, constraints, callbacks, models),
)
CONSTRUCTORS: list[tuple[str, Callable[..., Any]]] = [found for module in MODULES for found in junk.public(module)]
INPUT = gpunet.Input((3,))
REQUIRED: Mapping[str, Any] = {
    "backup_dir": "backup",
    **{"filepath": "model", "schedule": lambda epoch: 0.1},
    **{"units": 3, "filters": 2, "kernel_size": 1, "rate": 0.5, "activation": "relu", "target_shape": (2,)},
    **{"dims": (2, 1), "n": 2, "height": 4, "width": 5, "input_dim": 6, "output_dim": 3},
    **{"factor": 0.1, "height_factor": 0.1, "width_factor": 0.1},
    **{"axes": 1, "inputs": INPUT, "outputs": gpunet.Dense(2)(INPUT)},
    **{"initial_learning_rate": 0.1, "decay_steps": 9, "decay_rate": 0.5, "first_decay_steps": 9},
    **{"boundaries": [9], "values": [0.1, 0.01]},
    **{"filename": "log", "shape": (3,), "axis": 0, "minimum": 0.0, "maximum": 1.0},
    **{"stddev": 0.1, "function": len, "number": 2.0},
    **{"fn": max, "num_classes": 3, "target_class_ids": [0]},
    **dict.fromkeys(("sensitivity", "specificity", "precision", "recall"), 0.5),
    **{"stddev": 0.1, "function": len},
    **{"filename": "log", "shape": (3,), "axis": 0, "minimum": 0.0, "maximum": 1.0, "scale": 0.5},
}
# An argument that leaves its place to another one if it is given is tested without it.
INSTEAD = {"batch_shape": ("shape",)}


def _valid(name: str, constructor: Callable[..., Any]) -> dict[str, Any]:
    """Return values for the arguments that have to be given."""
    found = {}
    for argument, parameter in junk.arguments_of(constructor).items():
        if parameter.default is parameter.empty or (argument == "shape" and constructor in _INPUTS):
            assert argument in REQUIRED, f"{name}: REQUIRED must have a value for {argument}"
            found[argument] = REQUIRED[argument]
    return found


_INPUTS = (gpunet.Input, layers.InputLayer)


def _complaint(constructor: Callable[..., Any], given: Mapping[str, Any], names: list[str]) -> str | None:
    """Return what is wrong with the way in which `constructor` takes `given`; None if nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = constructor(**given)
    except (ValueError, TypeError) as error:
        if any(junk.names(error, name) for name in names):
            return None
        return f"{type(error).__name__} does not name the argument: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return _unusable(made)


def _unusable(made: Any) -> str | None:
    """Return why what was made cannot be described, as every object with a configuration must be; None if it can."""
    if not hasattr(made, "get_config"):
        return None
    try:
        json.dumps(made.get_config())
    except NotImplementedError:  # a base class
        return None
    except Exception as error:
        return f"taken, but get_config fails: {type(error).__name__}: {error}"
    return None


def _merged(constructor: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    valid = _valid(name, constructor)
    for argument in given:
        for other in INSTEAD.get(argument, ()):
            valid.pop(other, None)
    return valid | dict(given)


@pytest.mark.parametrize(("name", "constructor"), CONSTRUCTORS, ids=[name for name, _ in CONSTRUCTORS])
def test_one_argument_of_a_wrong_kind(name: str, constructor: Callable[..., Any]) -> None:
    """Every value for every argument of every constructor, the others left at their defaults."""
    assert _unusable(constructor(**_valid(name, constructor))) is None
    wrong = []
    for argument in junk.arguments_of(constructor):
        for make in junk.MAKERS:
            value = make()
            complaint = _complaint(constructor, _merged(constructor, name, {argument: value}), [argument])
            if complaint is not None:
                wrong.append(f"{name}({argument}={junk.shown(value)}): {complaint:.200}")
    assert not wrong, f"{len(wrong)} complaints\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", ["unknown", "on_epoch_end"])
def test_unknown_arguments(name: str) -> None:
    for title, constructor in CONSTRUCTORS:
        if constructor is callbacks.LambdaCallback and name == "on_epoch_end":
            continue
        if constructor is metrics.MeanMetricWrapper:  # they are arguments of the user's function
            continue
        with pytest.raises(TypeError, match=f"{name}|takes no arguments"):
            constructor(**_valid(title, constructor), **{name: 1})


def test_functions_of_a_lambda_callback() -> None:
    """Its arguments are the hooks, which no signature names; a function of the wrong arguments is the user's affair."""
    hooks = [name for name in vars(callbacks.Callback) if name.startswith("on_")]
    assert len(hooks) > 10
    for hook in hooks:
        for make in junk.MAKERS:
            value = make()
            complaint = _complaint(callbacks.LambdaCallback, {hook: value}, [hook])
            assert complaint is None, f"{hook}={junk.shown(value)}: {complaint}"


@junk.examples(1000)
@hypothesis.given(st.data())
def test_several_arguments_of_wrong_kinds(data: st.DataObject) -> None:
    name, constructor = data.draw(st.sampled_from(CONSTRUCTORS))
    known = sorted(junk.arguments_of(constructor))
    chosen = data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
    given = {argument: data.draw(junk.VALUES, label=argument) for argument in chosen}
    complaint = _complaint(constructor, _merged(constructor, name, given), chosen)
    assert complaint is None, f"{name}: {complaint}"


def test_the_constructors_are_found() -> None:
    found = {name for name, _ in CONSTRUCTORS}
    assert {"layers.Dense", "layers.Input", "models.Sequential", "optimizers.Adam", "callbacks.CSVLogger"} <= found
    assert {"losses.MeanSquaredError", "metrics.Mean", "initializers.Zeros", "regularizers.L2"} <= found
    assert {"activity_regularizer", "input_dim", "units"} <= set(junk.arguments_of(gpunet.Dense))
