"""The examples in docstrings, run as they stand, with gpunet's public names at hand."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import gpunet
from gpunet.backend.random import set_random_seed

MODULES = [module.name for module in pkgutil.walk_packages(gpunet.__path__, "gpunet.") if "__main__" not in module.name]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    given = {public: getattr(gpunet, public) for public in gpunet.__all__}
    rng = np.random.default_rng(0)
    given |= {"np": np, "x": rng.random((32, 8, 8, 1), np.float32), "y": rng.integers(0, 10, 32)}
    set_random_seed(0)
    failed, _ = doctest.testmod(
        module, extraglobs={name: value for name, value in given.items() if name not in vars(module)}
    )
    assert failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) > 50
