"""The command line; a module for each command. Beside training/progress.py, the only part of gpunet that prints."""

from gpunet.cli import devices, parity, profile, train, tune, warmup
from gpunet.cli.application import app

__all__ = ["app", "devices", "main", "parity", "profile", "train", "tune", "warmup"]


def main() -> None:
    """Run the command that the arguments of the process name."""
    app()
