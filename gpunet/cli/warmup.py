"""`gpunet warmup`: compile the kernels of a model before anybody waits for them."""

from __future__ import annotations

from typing import Annotated

import typer

from gpunet.backend import devices
from gpunet.cli.application import DeviceOption, app, choose_device, reported_errors
from gpunet.cli.models import ModelOption, find_model


@app.command("warmup")
def _warmup_command(
    model: ModelOption = "cnn",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a step.")] = 32,
    last_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples of a last, smaller batch.", show_default="none")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Compile what training, evaluation and prediction launch, and say what the cache held and what took how long."""
    with reported_errors():
        devices.set_device(choose_device(device)[0])
        print(find_model(model).warmup(batch_size, last_batch_size))
