"""The cross-check against Keras 3 on PyTorch's CPU backend; skipped where the extra `parity` is not installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["KERAS_BACKEND"] = "torch"  # read by keras at import, which the tests do
MISSING = [name for name in ("keras", "torch") if importlib.util.find_spec(name) is None]
# Keras and torch warn of their own deprecations, at import too; those are not ours to answer for.
OWN_WARNINGS_ONLY = [
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning:keras",
    "ignore::UserWarning:torch",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder `parity`."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("parity")
            for rule in OWN_WARNINGS_ONLY:
                item.add_marker(pytest.mark.filterwarnings(rule))


@pytest.fixture(autouse=True)
def _keras() -> None:
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} not installed; install gpunet[parity]")


@pytest.fixture
def in_double(_keras: None) -> Iterator[None]:
    """Keras computes in float64, where it would otherwise take float32 for what is given no dtype."""
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)
