"""The folder of a run: what was asked for, where it stands, and what came of it."""

from __future__ import annotations

import itertools
import json
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.datasets import digits
from gpunet.models import Model
from gpunet.recipes import RECIPES
from gpunet.saving.replacing import replace_file
from gpunet.version import version

CONFIG, HISTORY, CHECKPOINTS, MODEL, RESULT = (
    *("config.json", "history.csv", "checkpoints", "model.gpunet"),
    "result.json",  # the last to be written
)


@dataclass(frozen=True)
class Run:
    """What `gpunet train` was asked to do; None stands for what the model or the optimizer takes by itself."""

    device: str | None
    model: str
    epochs: int | None
    steps: int | None
    batch_size: int
    optimizer: str
    learning_rate: float | None
    seed: int
    nonfinite: str
    checkpoint_every: int | None
    log_json: str | None


def new_folder(out: Path | None) -> Path:
    """Make and return the folder for the results; FileExistsError if `out` holds something already.

    What a run left that was killed before it began, hidden files, does not count.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
            raise FileExistsError(f"--out: must be a new or empty folder; got {out}")
        out.mkdir(parents=True, exist_ok=True)
        return out
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in itertools.count(1):
        folder = Path("runs", name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # begun in the same second
            continue
        return folder
    raise AssertionError("there is always a next number")


def write_config(folder: Path, run: Run, model: Model, device: str) -> None:
    """Write down everything that decides the run."""
    config = {
        "command": shlex.join(["gpunet", *sys.argv[1:]]),
        "arguments": asdict(run),
        "device": device,
        "data": {"name": "digits", "split_seed": 0, "test_images": digits.TEST_SIZE},
        "architecture": json.loads(model.to_json()),
        "compile": model.get_compile_config(),
        "versions": {
            "gpunet": version(),
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    replace_file(folder / CONFIG, _json(config))


def check_begun(folder: Path) -> None:
    """ValueError if no run was begun in `folder`."""
    if not (folder / CONFIG).is_file():
        raise ValueError(f"--resume: must be the folder of a run, with a {CONFIG}; got {folder}")


def read_run(folder: Path) -> Run:
    """Return what the run in `folder` was asked to do; ValueError if it has ended, or if that file is damaged."""
    if (folder / RESULT).exists():
        raise ValueError(f"--resume: the run in {folder} has ended; its model is {folder / MODEL}")
    path = folder / CONFIG
    try:
        run = Run(**json.loads(path.read_text(encoding="utf-8"))["arguments"])
        where = "arguments"
        arguments.choice(where, "model", run.model, tuple(RECIPES))
        for name, least in (("epochs", 1), ("steps", 1), ("batch_size", 1), ("checkpoint_every", 1), ("seed", 0)):
            value = getattr(run, name)
            if value is not None or name in ("batch_size", "seed"):
                arguments.integer(where, name, value, least)
        if run.learning_rate is not None:
            arguments.real(where, "learning_rate", run.learning_rate, 0)
        for name in ("device", "optimizer", "nonfinite", "log_json"):
            value = getattr(run, name)
            if not isinstance(value, str) and not (value is None and name in ("device", "log_json")):
                raise TypeError(f"{where}: {name} must be a string; got {value!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"--resume: {path} does not describe a run ({error})") from error
    return run


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write down what came of the run, which ends it."""
    replace_file(folder / RESULT, _json(result))


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
