"""tests/keras.toml, which README's table is made of, lists the public names of Keras itself."""

from __future__ import annotations

import importlib

import keras_table
import pytest


def test_the_names_are_keras_own() -> None:
    import keras

    said = keras_table.content()
    if keras.__version__ != said["version"]:
        pytest.skip(f"the names are those of Keras {said['version']}; Keras {keras.__version__} is installed")
    for module, listed in said["modules"].items():
        importlib.import_module(f"keras.{module}")
        home = keras
        for part in module.split("."):
            home = getattr(home, part)
        names = sorted(name for name in dir(home) if not name.startswith("_") and name != "legacy")
        assert listed["names"] == names, module
