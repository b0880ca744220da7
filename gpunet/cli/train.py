"""`gpunet train`: train a network on the handwritten digits."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gpunet import arguments, optimizers
from gpunet.backend import devices
from gpunet.backend.arrays import Device
from gpunet.backend.random import set_random_seed
from gpunet.callbacks import BackupAndRestore, Callback, CSVLogger, JsonLog
from gpunet.cli import runs
from gpunet.cli.application import INTERRUPTED, DeviceOption, app, choose_device, reported_errors
from gpunet.cli.runs import Run
from gpunet.datasets import digits
from gpunet.models import Model
from gpunet.recipes import RECIPES
from gpunet.saving.lock import FolderLock
from gpunet.saving.replacing import remove_unfinished
from gpunet.training.watch import NonFinite

ModelName = StrEnum("ModelName", list(RECIPES))  # type: ignore[misc]  # mypy wants the names spelled out
OptimizerName = StrEnum("OptimizerName", sorted(optimizers.NAMES))  # type: ignore[misc]
Action = StrEnum("Action", {action.name: action.value for action in NonFinite})  # type: ignore[misc]
_EPOCHS = ", ".join(f"{name} {recipe.epochs}" for name, recipe in RECIPES.items())


class StopAfter(Callback):
    """Ends the training after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def get_state(self) -> dict[str, Any]:
        return {"left": self._left}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._left = arguments.integer("--steps", "left", state["left"], 0)

    def wants_logs(self, hook: str) -> bool:
        return False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._left -= 1
        if self._left == 0:
            self.model.stop_training = True


@app.command("train")
def _train_command(
    context: typer.Context,
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
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="Save every so many steps what --resume needs.")
    ] = None,
    log_json: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a JSON object a step and an epoch to this file.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with the run in this folder, with its options.")
    ] = None,
) -> None:
    """Train a network on the handwritten digits that gpunet carries, and test it."""
    with reported_errors():
        if log_json is not None and not log_json.parent.is_dir():
            raise ValueError(f"--log-json: the folder of {log_json} must exist")
        log = None if log_json is None else str(log_json.absolute())
        run = Run(
            device, model, epochs, steps, batch_size, optimizer, learning_rate, seed, nonfinite, checkpoint_every, log
        )
        if resume is None:
            _begin(run, out)
        else:
            _check_alone(context)
            runs.check_begun(resume)
            with FolderLock("gpunet train", resume):
                _go_on(resume, log)


def _check_alone(context: typer.Context) -> None:
    """ValueError if the command has an option beside --resume and --log-json."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    others = ", ".join(f"--{name.replace('_', '-')}" for name in given if name not in ("resume", "log_json"))
    if others:
        raise ValueError(f"--resume: must stand alone, the run has its options; got {others} too")


def _begin(run: Run, out: Path | None) -> None:
    """Check what was asked, and train in a new folder."""
    chosen, why = _use_device(run.device)
    model = _new_model(run)
    folder = runs.new_folder(out)
    with FolderLock("gpunet train", folder):
        run = replace(run, device=str(chosen), epochs=_epochs(run))
        runs.write_config(folder, run, model, f"{chosen} ({why})")
        _train(folder, run, model)


def _go_on(folder: Path, log: str | None) -> None:
    """Train what is left of the run in `folder`."""
    run = runs.read_run(folder)
    if run.log_json != log:  # a file names no other to be written to: the user does
        raise ValueError(f"--log-json: must be {run.log_json}, as where the run began; got {log}")
    _use_device(run.device)
    remove_unfinished(folder)
    found = sorted((folder / runs.CHECKPOINTS).glob("*.gpunet"))
    print(f"going on from {found[-1]}" if found else f"no checkpoint in {folder}: beginning anew")
    _train(folder, run, _new_model(run))


def _use_device(name: str | None) -> tuple[Device, str]:
    chosen, why = choose_device(name)
    print(f"device: {chosen}, {devices.examine(chosen).name} ({why})")
    devices.set_device(chosen)
    return chosen, why


def _new_model(run: Run) -> Model:
    set_random_seed(run.seed)
    optimizer = optimizers.get(run.optimizer)
    if run.learning_rate is not None:
        optimizer.learning_rate = run.learning_rate
    model = RECIPES[run.model].network()
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"], nonfinite=run.nonfinite)
    return model


def _train(folder: Path, run: Run, model: Model) -> None:
    """Train, test, and leave the results in `folder`."""
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    images, path = RECIPES[run.model].images, folder / runs.MODEL
    callbacks = [CSVLogger(folder / runs.HISTORY), *_asked_callbacks(folder, run)]
    print(f"training {run.model}, {model.count_params():,} parameters, on {len(x_train):,} images; results in {folder}")
    try:
        model.fit(images(x_train), y_train, run.batch_size, run.epochs or 0, callbacks=callbacks)
    except KeyboardInterrupt:
        model.save(path)
        print(f"interrupted after {_steps(model)} steps; the model trained so far is {path}")
        if run.checkpoint_every is not None:
            logged = [] if run.log_json is None else ["--log-json", run.log_json]
            print(f"to go on: {shlex.join(['gpunet', 'train', '--resume', str(folder), *logged])}")
        raise typer.Exit(INTERRUPTED) from None
    except FloatingPointError:
        model.save(path)
        print(f"stopped after {_steps(model)} steps; the model trained so far is {path}")
        raise
    model.save(path)
    loss, accuracy = model.evaluate(images(x_test), y_test, verbose=0)
    runs.write_result(folder, {"test_loss": loss, "test_accuracy": accuracy})
    shutil.rmtree(folder / runs.CHECKPOINTS, ignore_errors=True)
    print(f"test accuracy {accuracy:.4f}")


def _steps(model: Model) -> int:
    return model.optimizer.iterations if model.optimizer is not None else 0


def _asked_callbacks(folder: Path, run: Run) -> Iterator[Callback]:
    if run.steps is not None:
        yield StopAfter(run.steps)
    if run.log_json is not None:
        yield JsonLog(run.log_json)
    if run.checkpoint_every is not None:
        yield BackupAndRestore(folder / runs.CHECKPOINTS, run.checkpoint_every, delete_checkpoint=False)


def _epochs(run: Run) -> int:
    """Return how many epochs to begin: those asked for, else enough for the steps asked for, else the network's."""
    if run.epochs is not None:
        return run.epochs
    if run.steps is not None:
        (x_train, _), _ = digits.load_data()
        return math.ceil(run.steps / math.ceil(len(x_train) / run.batch_size))
    return RECIPES[run.model].epochs
