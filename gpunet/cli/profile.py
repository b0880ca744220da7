"""`gpunet profile`: where a training step's time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gpunet.backend import devices
from gpunet.cli.application import DeviceOption, app, choose_device, reported_errors
from gpunet.cli.models import ModelOption, find_model
from gpunet.inspection.samples import random_inputs, random_targets

Target: TypeAlias = Path | None


@app.command("profile")
def _profile_command(
    model: ModelOption = "cnn50",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of the step.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Steps of which medians are taken.")] = 5,
    top: Annotated[int, typer.Option(min=1, help="Print so many op calls, those that cost most.")] = 20,
    device: DeviceOption = None,
    json: Annotated[Target, typer.Option(dir_okay=False, help="Write everything to this file.")] = None,
    trace: Annotated[Target, typer.Option(dir_okay=False, help="Write a timeline for Perfetto.")] = None,
    plot: Annotated[Target, typer.Option(dir_okay=False, help="Draw the roofline (needs the extra plot).")] = None,
) -> None:
    """Time each op of a training step on random data, beside what the device could do."""
    with reported_errors():
        for option, path in (("--json", json), ("--trace", trace), ("--plot", plot)):
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{option}: the folder of {path} must exist")
        devices.set_device(choose_device(device)[0])
        chosen = find_model(model)
        profile = chosen.profile(
            random_inputs(chosen, batch_size), random_targets(chosen, batch_size), batch_size, steps=steps
        )
        print(profile.table(top))
        for path, write in ((json, profile.to_json), (trace, profile.to_chrome_trace), (plot, profile.to_png)):
            if path is not None:
                write(path)
