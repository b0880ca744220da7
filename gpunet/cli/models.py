"""The model that a command is about: one of the built-in networks, or a saved one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gpunet.models import Model, load_model
from gpunet.recipes import RECIPES

_HELP = f"{', '.join(RECIPES)}, or the file of a saved model."

ModelOption: TypeAlias = Annotated[str, typer.Option(help=_HELP, metavar="NAME|FILE")]
ModelArgument: TypeAlias = Annotated[str, typer.Argument(help=_HELP, metavar="NAME|FILE")]


def find_model(name: str, where: str = "--model") -> Model:
    """Return the built-in network called `name`, compiled as `gpunet train` does, or the model in that file.

    ValueError, which calls the argument `where`, if there is neither.
    """
    if name in RECIPES:
        model: Model = RECIPES[name].network()
        model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model
    if not Path(name).is_file():
        raise ValueError(f"{where}: must be one of {', '.join(RECIPES)}, or the file of a saved model; got {name!r}")
    return load_model(name)
