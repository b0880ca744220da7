"""Warm-up: all that a model launches is compiled before, and what came from the cache is told from what did not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from emulated_kernel import require_emulator
from fake_cupy import FakeCupy
from small_models import bits, digits, small_cnn

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend import arrays, compiler, compiles, emulator, launch
from gpunet.backend.arrays import Device, Kind, empty
from gpunet.backend.compiles import Compile, noted, watched
from gpunet.inspection.warmup import WarmUp

GPU = Device(Kind.CUDA)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of compiled kernels; the compiler that was found before is kept."""
    require_emulator()
    compiler.find_compiler()
    monkeypatch.setenv("GPUNET_CACHE", str(tmp_path / "cache"))
    cached = (compiler.cache_folder, emulator._module)
    for one in cached:
        one.cache_clear()
    with gpunet.device("emulated"), emulator.configured(checked=False):
        yield tmp_path / "cache"
    monkeypatch.undo()
    for one in cached:
        one.cache_clear()


def test_a_batch_that_no_memory_can_hold() -> None:
    model = Sequential([Input((3,)), Dense(2)], name="net")
    with pytest.raises(
        ValueError, match=r"Sequential 'net': batch_size must be at most \d+ for an input of \(None, 3\)"
    ):
        model.warmup(2**62)


def test_what_the_cache_held_is_told_from_what_was_compiled(empty_cache: Path) -> None:
    model = Sequential([Input((4,)), Dense(3, activation="softmax")])
    first = model.warmup(2)
    assert not first.cached
    assert {kernel.file for kernel in first.compiled} == {"gather.cu", "dense.cu", "softmax.cu"}
    assert all(0.001 < kernel.seconds < 60 for kernel in first.compiled)
    assert model.warmup(2).kernels == (), "this process has them"
    emulator._module.cache_clear()  # as a new process
    again = model.warmup(2)
    assert not again.compiled and [kernel.file for kernel in again.cached] == [kernel.file for kernel in first.compiled]
    emulator._module.cache_clear()
    model.compile("sgd", "sparse_categorical_crossentropy")
    third = model.warmup(2)
    assert len(third.cached) == 3 and {"sgd.cu", "optimizer_step.cu"} <= {kernel.file for kernel in third.compiled}


def test_nothing_is_left_to_compile(empty_cache: Path) -> None:
    x, y = digits(20)
    model = small_cnn()
    model.warmup(8, last_batch_size=4)
    with noted() as later:
        model.fit(x, y, 8, epochs=1, verbose=0)
        model.evaluate(x, y, 8, verbose=0)
        model.predict(x, 8, verbose=0)
    assert later.found == []


def test_the_sizes_of_batches_decide(empty_cache: Path) -> None:
    """A product with more than 32 rows has another tile."""
    model = Sequential([Input((4,)), Dense(40)])
    assert [kernel.file for kernel in model.warmup(8).kernels] == ["gather.cu", "dense.cu"]
    (another,) = model.warmup(8, last_batch_size=64).kernels
    assert "-DBM=64" in another.options


def test_the_model_is_as_it_was(device: Device) -> None:
    model = small_cnn()
    model.fit(*digits(16), 8, verbose=0)
    before, streams = bits(model), [vars(layer)["stream"].step for layer in model.layers if "stream" in vars(layer)]
    assert streams == [2]
    warmed = model.warmup(8)
    assert bits(model) == before and model.optimizer is not None and model.optimizer.iterations == 2
    assert [vars(layer)["stream"].step for layer in model.layers if "stream" in vars(layer)] == streams
    assert warmed.device == str(device)


def test_the_cpu_has_nothing_to_compile() -> None:
    warmed = small_cnn().warmup()
    assert warmed.kernels == () and str(warmed) == "cpu: NumPy needs no kernels; there is nothing to compile"


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy", "categorical_crossentropy"])
def test_targets_fit_the_loss(loss: str) -> None:
    model = Sequential([Input((4,)), Dense(3, activation="softmax")])
    model.compile("sgd", loss)
    model.warmup(2)


def test_bad_arguments_are_refused() -> None:
    model = Sequential([Dense(3)])
    with pytest.raises(ValueError, match=r"warmup: the model must be built; call build\(input_shape\), or fit it"):
        model.warmup()
    model.build((None, 4))
    for name in ("batch_size", "last_batch_size"):
        with pytest.raises(ValueError, match=f"warmup: {name} must be at least 1; got 0"):
            model.warmup(**{name: 0})
    unsized = Sequential([Input((None, None, 1)), gpunet.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"sizes of the input must be known but for the batch; got \(None, N"):
        unsized.warmup()


def test_the_table() -> None:
    kernels = (
        Compile("dense.cu", ("-DREAL=float", "-DBM=64"), 0.5, from_cache=False),
        Compile("/a/b/own.cu", ("-DREAL=float",), 0.002, from_cache=True),
    )
    assert str(WarmUp("emulated", kernels)).splitlines() == [
        "kernel    ready by    time  options",
        "dense.cu  compiler  500 ms  REAL=float BM=64",
        "own.cu    cache       2 ms  REAL=float",
        "emulated: 1 compiled in 500 ms, 1 from the cache in 2 ms",
    ]
    assert str(WarmUp("cuda:0", ())) == "cuda:0: 0 compiled in 0 us, 0 from the cache in 0 us"


# The pretended GPU: CuPy's cache of compiled kernels is a folder.


@pytest.fixture
def cupy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    cached = (arrays.import_cupy, launch._cuda_kernel, launch._cuda_module)
    for one in cached:
        one.cache_clear()
    fake = FakeCupy()
    (tmp_path / "cache").mkdir()
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    monkeypatch.setattr(launch, "launched", set())
    yield fake
    for one in cached:
        one.cache_clear()


def _launch(entry: str = "add_in_place") -> None:
    a, b = (empty((8,), np.float32, GPU) for _ in range(2))
    launch.launch("arithmetic.cu", entry, grid=1, block=32, args=(a, b, 8), real=np.float32)


def test_cupys_cache_tells_what_it_held(cupy: FakeCupy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_it = cupy.RawModule

    def raw_module(**arguments: object) -> SimpleNamespace:
        """Compile as CuPy does: what is not in the folder is written there, by a temporary name first."""
        path = tmp_path / "cache" / "arithmetic.cubin"
        if not path.exists():
            path.with_suffix(".part").write_bytes(b"compiled")
            path.with_suffix(".part").replace(path)
        return compile_it(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cupy, "RawModule", raw_module)
    os.utime(tmp_path / "cache", ns=(0, 0))  # what happened to the folder before is long past
    found = []
    for _ in range(2):
        with noted() as compiled:
            _launch("add_in_place")
            _launch("scale")
            _launch("scale")
        found.append(compiled.found)
        launch._cuda_kernel.cache_clear()
        launch._cuda_module.cache_clear()
    ((first,), (second,)) = found
    assert (first.file, first.options, first.from_cache) == ("arithmetic.cu", ("-DREAL=float",), False)
    assert (second.file, second.from_cache) == ("arithmetic.cu", True)


def test_a_cache_in_memory_holds_nothing_for_a_new_process(cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "1")
    with noted() as compiled:
        _launch()
    assert [kernel.from_cache for kernel in compiled.found] == [False]


def test_cupys_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiles.cupy_cache() == tmp_path / ".cupy" / "kernel_cache"
    monkeypatch.setenv("CUPY_CACHE_DIR", "/elsewhere")
    assert compiles.cupy_cache() == Path("/elsewhere")


def test_nothing_is_looked_at_while_nobody_listens() -> None:
    def cache() -> Path:
        raise AssertionError("nobody asked")

    with watched("a.cu", (), cache):
        pass
