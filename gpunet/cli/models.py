"""The model that a command is about: one of the built-in networks, or a saved one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gpunet.models import Sequential, load_model
from gpunet.recipes import RECIPES

ModelOption: TypeAlias = Annotated[
    str, typer.Option(help=f"{', '.join(RECIPES)}, or the file of a saved model.", metavar="NAME|FILE")
]


def find_model(name: str) -> Sequential:
    """Return the built-in network called `name`, compiled as `gpunet train` does, or the model in that file.

    ValueError if there is neither.
    """
    if name in RECIPES:
        model = RECIPES[name].network()
        model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model
    if not Path(name).is_file():
        raise ValueError(f"--model: must be one of {', '.join(RECIPES)}, or the file of a saved model; got {name!r}")
    return load_model(name)
