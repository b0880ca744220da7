"""The order of the house: who may import whom, who may print, how a kernel introduces itself, what only kernels do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet.backend import devices
from gpunet.backend.arrays import EMULATED
from gpunet.backend.emulated_array import EmulatedArray
from gpunet.backend.sources import entry_points, kernel_files, kernel_folder

PACKAGE = Path(gpunet.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
KERNEL_SOURCES = sorted(path for path in kernel_folder().rglob("*") if path.suffix in {".cu", ".cuh", ".hpp", ".cpp"})

# From top to bottom: a module imports only modules of its own layer and of those below it.
HOUSE = [
    {"cli", "__main__"},
    {"recipes"},
    {"__init__"},
    {"models"},
    {"inspection"},  # of any network that can be trained: the public models have it as methods
    {"utils"},
    {"datasets"},
    {"training", "callbacks"},
    {"networks"},
    {"layers"},
    {"losses", "metrics", "optimizers", "initializers", "regularizers", "constraints", "activations"},
    {"parameters"},
    {"ops"},
    {"saving"},  # forms of files, which know arrays and no more; what a model's has is known by training
    {"backend"},
    {"arguments", "changes", "default_dtype", "identifiers", "version"},
]
STOREY = {name: number for number, names in enumerate(HOUSE) for name in names}
LINE_LIMIT = 400
HEADER = ("Math:", "Layout:", "Launch:", "Memory:", "Edges:", "Numerics:", "Cost:")


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _room(path: Path) -> str:
    """Return the top-level part of the package that `path` belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (dotted module, line) of each import in `path`, those only for type checkers left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: imports are absolute"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_downwards(path: Path) -> None:
    own = _room(path)
    assert own in STOREY, f"{own} has no place in HOUSE"
    for module, line in _imports(path):
        parts = module.split(".")
        if parts[0] != "gpunet":
            continue
        other = parts[1] if len(parts) > 1 and parts[1] in STOREY else "__init__"
        assert STOREY[other] >= STOREY[own], f"{_name(path)}:{line}: {own} imports {other}, which lies above it"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_optional_packages_are_imported_where_they_belong(path: Path) -> None:
    allowed = {
        "cupy": {"backend/arrays.py"},
        "cupyx": set(),
        "typer": {"cli"},
        "rich": {"cli", "training/progress.py"},
        "matplotlib": {"inspection/plot.py"},
        "ziglang": set(),  # run as a program, never imported
        "keras": set(),
        "torch": set(),
    }
    for module, line in _imports(path):
        top = module.partition(".")[0]
        assert top not in allowed or allowed[top] & {_name(path), _room(path)}, f"{_name(path)}:{line} imports {top}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_the_command_line_and_the_progress_bar_print(path: Path) -> None:
    if _room(path) == "cli" or _name(path) == "training/progress.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{_name(path)}:{node.lineno} prints"


@pytest.mark.parametrize("path", MODULES + KERNEL_SOURCES, ids=lambda path: path.name)
def test_files_fit_in_a_head(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINE_LIMIT, f"{path.name} has {len(text.splitlines())} lines"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    assert path.stem != "utils" or path == PACKAGE / "utils.py"  # Keras's name for what users ask for


@pytest.mark.parametrize("file", kernel_files())
def test_kernels_introduce_themselves(file: str) -> None:
    text = (kernel_folder() / file).read_text(encoding="utf-8")
    header = "\n".join(line for line in text.split("#include")[0].splitlines() if line.startswith("//"))
    missing = [section for section in HEADER if not re.search(rf"^// +{section}", header, re.MULTILINE)]
    assert not missing, f"the opening comment of {file} lacks {missing}"
    places = [header.index(section) for section in HEADER]
    assert places == sorted(places), f"{file}: sections must come in the order {HEADER}"


@pytest.mark.parametrize(
    "path", [path for path in KERNEL_SOURCES if path.suffix in {".cu", ".cuh"}], ids=lambda p: p.name
)
def test_kernels_use_no_atomics_no_defaults_and_no_headers_but_ours(path: Path) -> None:
    code = re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"\batomic\w*\s*\(", code), "atomics on floats make the order of additions a matter of chance"
    assert "#ifndef" not in code or path.name == "common.cuh", "a kernel file has no defaults for its defines"
    assert not re.search(r"#include\s*<", code), "only our own headers"


@pytest.mark.parametrize("file", kernel_files())
def test_every_kernel_is_named_by_a_test(file: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py") if path.name != Path(__file__).name]
    assert any(Path(file).stem in text for text in texts), f"no test speaks of {file}"
    assert entry_points(file)


def test_importing_gpunet_imports_nothing_optional() -> None:
    code = """
import sys, gpunet
for name in gpunet.__all__: getattr(gpunet, name)
print(sorted({name.partition('.')[0] for name in sys.modules}))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(result.stdout))
    assert "gpunet" in loaded and "numpy" in loaded
    assert not loaded & {"cupy", "typer", "rich", "click", "matplotlib", "ziglang", "keras", "torch", "hypothesis"}


class _ForbiddenError(AssertionError):
    """Array arithmetic happened on the device outside a kernel."""


def _forbid(self: EmulatedArray, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    raise _ForbiddenError(f"{ufunc.__name__} ran outside a kernel")


def test_on_a_device_only_kernels_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a small network with everything in it on `emulated`, where arithmetic on its arrays is forbidden."""
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)
    monkeypatch.setattr(EmulatedArray, "__array_ufunc__", _forbid)
    with pytest.raises(_ForbiddenError):
        gpunet.to_device(np.ones(3, np.float32), "emulated") + 1
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 12, 12, 2), np.float32), rng.integers(0, 4, 20)
    for optimizer in ("adam", gpunet.optimizers.SGD(momentum=0.9, nesterov=True)):
        with gpunet.device("emulated"):
            model = _network()
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=8, epochs=2, validation_split=0.2, verbose=0)
        model.evaluate(x, y, verbose=0)
        assert model.predict(x, verbose=0).shape == (20, 4)


def _network() -> Any:
    from gpunet import layers

    return gpunet.Sequential(
        [
            gpunet.Input((12, 12, 2)),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_constraint="max_norm"),
            layers.ReLU(max_value=6),
            layers.MaxPooling2D(2, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("gelu"),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(8, activation="tanh", activity_regularizer="l1", bias_constraint="non_neg"),
            layers.Reshape((2, 4)),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
