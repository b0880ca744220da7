"""`gpunet train`: train a network on the handwritten digits."""

from __future__ import annotations

import itertools
import json
import math
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gpunet import optimizers
from gpunet.backend import devices
from gpunet.backend.random import set_random_seed
from gpunet.callbacks import Callback, CSVLogger, JsonLog
from gpunet.cli.application import INTERRUPTED, DeviceOption, app, choose_device, reported_errors
from gpunet.datasets import digits
from gpunet.models import Sequential
from gpunet.recipes import RECIPES
from gpunet.training.watch import NonFinite
from gpunet.version import version

ModelName = StrEnum("ModelName", list(RECIPES))  # type: ignore[misc]  # mypy wants the names spelled out
OptimizerName = StrEnum("OptimizerName", {"adam": "adam", "sgd": "sgd"})
Action = StrEnum("Action", {action.name: action.value for action in NonFinite})  # type: ignore[misc]
_EPOCHS = ", ".join(f"{name} {recipe.epochs}" for name, recipe in RECIPES.items())


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


class StopAfter(Callback):
    """Ends the training after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def wants_logs(self, hook: str) -> bool:
        return False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._left -= 1
        if self._left == 0:
            self.model.stop_training = True


@app.command("train")
def _train_command(
    device: DeviceOption = None,
    model: Annotated[ModelName, typer.Option(help="cnn50 takes the images at 50 x 50 pixels.")] = ModelName("cnn"),
    epochs: Annotated[int | None, typer.Option(min=1, show_default=_EPOCHS)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 32,
    optimizer: Annotated[OptimizerName, typer.Option()] = OptimizerName("adam"),
    learning_rate: Annotated[float | None, typer.Option(show_default="the optimizer's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial weights, batches and dropout.")] = 0,
    nonfinite: Annotated[
        Action, typer.Option(help="What to do when the loss or a gradient is infinite or NaN.")
    ] = Action("ignore"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results, new or empty.", show_default="runs/<time>")
    ] = None,
    log_json: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a JSON object a step and an epoch to this file.")
    ] = None,
) -> None:
    """Train a network on the handwritten digits that gpunet carries, and test it."""
    run = Run(device, model, epochs, steps, batch_size, optimizer, learning_rate, seed, nonfinite)
    with reported_errors():
        _train(run, out, log_json)


def _train(run: Run, out: Path | None, log_json: Path | None) -> None:
    """Check what was asked, train, test, and leave the results in a folder."""
    recipe = RECIPES[run.model]
    chosen, why = choose_device(run.device)
    print(f"device: {chosen}, {devices.examine(chosen).name} ({why})")
    devices.set_device(chosen)
    set_random_seed(run.seed)
    optimizer = optimizers.get(run.optimizer)
    if run.learning_rate is not None:
        optimizer.learning_rate = run.learning_rate
    if log_json is not None and not log_json.parent.is_dir():
        raise ValueError(f"--log-json: the folder of {log_json} must exist")
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    model = recipe.network()
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"], nonfinite=run.nonfinite)
    folder = _new_folder(out)
    epochs = _epochs(run, math.ceil(len(x_train) / run.batch_size))
    _write_config(folder / "config.json", run, epochs, model, f"{chosen} ({why})")
    callbacks: list[Callback] = [CSVLogger(folder / "history.csv")]
    callbacks += [] if run.steps is None else [StopAfter(run.steps)]
    callbacks += [] if log_json is None else [JsonLog(log_json)]
    print(f"training {run.model}, {model.count_params():,} parameters, on {len(x_train):,} images; results in {folder}")
    try:
        model.fit(recipe.images(x_train), y_train, run.batch_size, epochs, callbacks=callbacks)
    except KeyboardInterrupt:
        model.save(folder / "model.gpunet")
        print(f"interrupted after {optimizer.iterations} steps; the model trained so far is {folder / 'model.gpunet'}")
        raise typer.Exit(INTERRUPTED) from None
    except FloatingPointError:
        model.save(folder / "model.gpunet")
        print(f"stopped after {optimizer.iterations} steps; the model trained so far is {folder / 'model.gpunet'}")
        raise
    model.save(folder / "model.gpunet")
    _, accuracy = model.evaluate(recipe.images(x_test), y_test, verbose=0)
    print(f"test accuracy {accuracy:.4f}")


def _epochs(run: Run, steps_per_epoch: int) -> int:
    """Return how many epochs to begin: those asked for, else enough for the steps asked for, else the network's."""
    if run.epochs is not None:
        return run.epochs
    if run.steps is not None:
        return math.ceil(run.steps / steps_per_epoch)
    return RECIPES[run.model].epochs


def _new_folder(out: Path | None) -> Path:
    """Make and return the folder for the results; FileExistsError if `out` holds something already."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
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


def _write_config(path: Path, run: Run, epochs: int, model: Sequential, device: str) -> None:
    """Write down everything that decided the run."""
    config = {
        "command": shlex.join(["gpunet", *sys.argv[1:]]),
        "arguments": asdict(run) | {"epochs": epochs},
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
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
