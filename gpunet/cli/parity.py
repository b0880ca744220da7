"""`gpunet parity`: whether two devices make the same of a model, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gpunet.backend import devices
from gpunet.backend.arrays import Device
from gpunet.cli.application import FAILURE, app, choose_device, reported_errors
from gpunet.cli.models import ModelArgument, find_model
from gpunet.inspection import parity
from gpunet.inspection.comparison import TOLERANCE, default_device
from gpunet.inspection.samples import random_inputs, random_targets

Target: TypeAlias = Path | None
_UNIT = "units of the last place of an array's largest number"


@app.command("parity")
def _parity_command(
    model: ModelArgument,
    device: Annotated[
        str | None,
        typer.Option(help="The device to look at.", show_default="GPUNET_DEVICE, else auto; emulated if that is cpu"),
    ] = None,
    against: Annotated[str, typer.Option(help="The device to compare it with.")] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of the step.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training over which losses are compared.")] = 3,
    tolerance: Annotated[float, typer.Option(min=0, help=f"How far arrays may be apart, in {_UNIT}.")] = TOLERANCE,
    json: Annotated[Target, typer.Option(dir_okay=False, help="Write everything to this file.")] = None,
    plot: Annotated[Target, typer.Option(dir_okay=False, help="Draw the differences (needs the extra plot).")] = None,
) -> None:
    """Run a training step on random data on two devices, and show how far each layer's arrays are apart.

    The exit status is 0 if all is within tolerance, 1 if something is beyond it (or a device cannot be used).
    """
    with reported_errors():
        for option, path in (("--json", json), ("--plot", plot)):
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{option}: the folder of {path} must exist")
        first = choose_device(against)[0]
        second = _second(device, first)
        with devices.device(first):
            chosen = find_model(model, "MODEL")
        x, y = random_inputs(chosen, batch_size), random_targets(chosen, batch_size)
        found = parity(chosen, x, y, batch_size, device=second, against=first, steps=steps, tolerance=tolerance)
        print(found)
        for path, write in ((json, found.to_json), (plot, found.to_png)):
            if path is not None:
                write(path)
        if not found.within_tolerance:
            raise typer.Exit(FAILURE)


def _second(name: str | None, first: Device) -> Device:
    """Return the device to look at: the one that is asked for, else what there is beside `first`."""
    return default_device(first) if name is None else choose_device(name)[0]
