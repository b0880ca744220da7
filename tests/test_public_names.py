"""What `import gpunet` gives, and that it asks for nothing optional."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import gpunet

LAYERS = {
    "Activation",
    "AveragePooling2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "Input",
    "Layer",
    "MaxPooling2D",
    "ReLU",
    "Reshape",
    "Softmax",
}
MODULES = {
    "activations",
    "callbacks",
    "constraints",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
}
FUNCTIONS = {
    "current_device",
    "device",
    "load_model",
    "set_device",
    "set_random_seed",
    "to_device",
    "to_host",
}


def test_public_names() -> None:
    assert LAYERS | MODULES | FUNCTIONS | {"Sequential", "__version__"} <= set(gpunet.__all__)
    assert len(set(gpunet.__all__)) == len(gpunet.__all__)
    for name in gpunet.__all__:
        assert getattr(gpunet, name) is not None
    for name in LAYERS:
        assert getattr(gpunet, name) is getattr(gpunet.layers, name)


def test_every_layer_is_exported_at_the_top() -> None:
    assert set(gpunet.layers.__all__) <= set(gpunet.__all__)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_imported_by_name_too(name: str) -> None:
    module = importlib.import_module(f"gpunet.{name}")
    assert module is getattr(gpunet, name) and module.__doc__


def test_the_version_is_that_of_the_package() -> None:
    assert gpunet.__version__ and gpunet.__version__[0].isdigit()


def test_importing_gpunet_needs_only_numpy_and_safetensors() -> None:
    """Everything else that is installed for tests is hidden from a fresh interpreter, which imports and trains."""
    code = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"cupy", "rich", "typer", "click", "ziglang", "torch", "keras", "hypothesis"}:
            raise ImportError(f"{name} is hidden")

sys.meta_path.insert(0, Hidden())
import numpy as np
import gpunet
from gpunet import Dense, Input, Sequential

model = Sequential([Input((2,)), Dense(1)])
model.compile("sgd", "mse")
print(model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history["loss"][0] >= 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("True\n", "")
