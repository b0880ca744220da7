"""What the commands share: the application, its exit codes and errors, and the choice of a device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeAlias

import typer

from gpunet.backend import devices
from gpunet.backend.arrays import CPU, Device
from gpunet.version import version

USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130  # exit codes; 130 is the shells' own for Ctrl-C

app = typer.Typer(
    name="gpunet",
    help="Neural-network layers with hand-written CUDA kernels: train a network, look at it and at the devices.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DeviceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:N or emulated.", show_default="GPUNET_DEVICE, else auto"),
]


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn the errors of users and machines into one line and an exit code."""
    try:
        yield
    except typer.Exit:  # which is a RuntimeError
        raise
    except (ValueError, TypeError, FileExistsError) as error:
        code, text = USAGE_ERROR, str(error)
    except (RuntimeError, MemoryError, OSError, FloatingPointError) as error:
        code, text = FAILURE, str(error) or type(error).__name__
    except KeyboardInterrupt:
        code, text = INTERRUPTED, "interrupted"
    else:
        return
    print(f"error: {text}", file=sys.stderr)
    raise typer.Exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gpunet {version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def choose_device(name: str | None) -> tuple[Device, str]:
    """Return the device and why it is this one, in words that need no context."""
    chosen, reason = devices.choose(name)
    automatic = name in (None, "auto") and not reason.startswith("GPUNET_DEVICE")
    return chosen, f"cuda is not usable: {reason}" if automatic and chosen == CPU else reason
