"""Who takes part: gpunet and its rivals, each in ways of its own, each in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.cases import Case


@dataclass(frozen=True)
class Library:
    """A library in one way of using it. `module` has the class `SIDE`; it is imported in the library's own process."""

    name: str
    module: str
    mode: str
    requires: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu", "cuda")
    does_ops: bool = False
    does_models: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    only_images: bool = False  # a way of using the library that is another one for images alone
    tolerance: float = 1.0  # times the case's

    def takes(self, case: Case, device: str) -> bool:
        """Tell whether the library is meant for this case."""
        if device not in self.devices or (self.only_images and not case.has_images):
            return False
        return self.does_models if case.is_model else self.does_ops

    def missing(self) -> str | None:
        """Return why the library can't take part here; None if it can."""
        absent = [module for module in self.requires if importlib.util.find_spec(module) is None]
        return f"{', '.join(absent)} not installed" if absent else None


def _keras(backend: str) -> Library:
    return Library(
        f"Keras on {'TensorFlow' if backend == 'tensorflow' else 'JAX'}",
        "bench.rivals.keras_side",
        backend,
        ("keras", backend),
        devices=("cpu",),
        environment={"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


_TORCH = "bench.rivals.torch_side"

GPUNET = Library("gpunet", "bench.rivals.gpunet_side", "", ("gpunet",), does_ops=True)

RIVALS: tuple[Library, ...] = (
    Library("PyTorch", _TORCH, "eager", ("torch",), does_ops=True),
    Library("PyTorch channels_last", _TORCH, "channels_last", ("torch",), does_ops=True, only_images=True),
    Library("torch.compile", _TORCH, "compile", ("torch",)),
    Library("PyTorch TF32", _TORCH, "tf32", ("torch",), devices=("cuda",), does_ops=True, tolerance=100),
    _keras("tensorflow"),
    _keras("jax"),
    Library("JAX", "bench.rivals.jax_side", "", ("jax",), environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),
    Library(
        "CuPy (cuBLAS)", "bench.rivals.cupy_side", "", ("cupy",), devices=("cuda",), does_ops=True, does_models=False
    ),
)
