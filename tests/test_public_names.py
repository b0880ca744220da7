"""What `import gpunet` gives, and that it asks for nothing optional."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

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
    "inspection",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "utils",
}
FUNCTIONS = {
    "convolution",
    "current_convolution",
    "current_device",
    "device",
    "get_threads",
    "clone_model",
    "load_model",
    "random_seed",
    "register_serializable",
    "set_convolution",
    "set_device",
    "set_random_seed",
    "set_threads",
    "set_tuning",
    "to_device",
    "to_host",
}


def test_public_names() -> None:
    assert LAYERS | MODULES | FUNCTIONS | {"Model", "Sequential", "__version__"} <= set(gpunet.__all__)
    assert len(set(gpunet.__all__)) == len(gpunet.__all__)
    for name in gpunet.__all__:
        assert getattr(gpunet, name) is not None
    for name in LAYERS:
        assert getattr(gpunet, name) is getattr(gpunet.layers, name)


def test_every_layer_is_exported_at_the_top() -> None:
    classes = {name for name in gpunet.layers.__all__ if name[0].isupper()}  # functions stay in gpunet.layers
    assert classes <= set(gpunet.__all__)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_imported_by_name_too(name: str) -> None:
    module = importlib.import_module(f"gpunet.{name}")
    assert module is getattr(gpunet, name) and module.__doc__


def test_the_version_is_that_of_the_package() -> None:
    assert gpunet.__version__ and gpunet.__version__[0].isdigit()


def test_names_come_from_where_type_checkers_find_them() -> None:
    tree = ast.parse(Path(gpunet.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert found.pop("*") == "gpunet.layers"
    found |= dict.fromkeys(gpunet.layers.__all__, "gpunet.layers")
    modules = {name for name, home in found.items() if home == "gpunet"}
    assert {name: home for name, home in found.items() if name not in modules} == gpunet._HOME_OF
    assert {*modules, *gpunet._HOME_OF, "__version__"} == set(gpunet.__all__)
    with pytest.raises(AttributeError, match="module 'gpunet' has no attribute 'Conv3D'"):
        gpunet.Conv3D  # noqa: B018
    assert set(gpunet.__all__) <= set(dir(gpunet))


def test_importing_gpunet_imports_neither_numpy_nor_its_own_modules() -> None:
    code = "import sys, gpunet; print(sorted(name for name in sys.modules if name.startswith(('numpy', 'gpunet'))))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("['gpunet']\n", "")


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
