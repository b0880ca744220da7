"""gpunet's step by itself: `python -m bench.step --device cuda --out FOLDER`.

For cnn50 and the MLP at batches of 32 and 128, each captured as a graph and run op by op: the time of a step of `fit`,
the time that the host needs to ask for it, and, of a step run op by op, the share of time spent outside of ops; and
whether both end with the same bits, or else which weights differ, and by how much. Writes step.json and step.md, and
exits with 1 if bits differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gpunet
from bench.cases import models
from bench.rivals.sequential import sequential
from gpunet.backend.devices import examine
from gpunet.callbacks import Callback

NETWORKS, BATCHES = ("cnn50", "mlp"), (32, 128)
_WARM_EPOCHS = 2


@dataclass(frozen=True)
class Measured:
    """Seconds of a step of `fit`, as a graph and op by op; see the module."""

    network: str
    batch: int
    graph_seconds: float
    graph_host_seconds: float
    eager_seconds: float
    eager_host_seconds: float
    outside_ops: float
    differences: tuple[str, ...]


class _Watch(Callback):
    """Notes when steps were asked for, without waiting for them, and how long epochs took, which ends with a wait."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.epochs: list[float] = []

    def wants_logs(self, hook: str) -> bool:
        return False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.asked = [time.perf_counter()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.asked.append(time.perf_counter())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(time.perf_counter() - self.asked[0])


def measure(name: str, batch: int, steps: int) -> Measured:
    """Return what a step of the network costs on the current device, by an epoch of `steps` of them."""
    data = models.data({"network": name, "batch": batch * steps})
    timed, ends = [], []
    for eager in (False, True):
        model = _model(name, eager)
        watch = _Watch()
        model.fit(data["x"], data["y"], batch, _WARM_EPOCHS + 1, verbose=0, callbacks=watch)
        timed.append((watch.epochs[-1] / steps, float(np.median(np.diff(watch.asked)))))
        ends.append({path: parameter.numpy() for path, parameter in model.parameters_by_path.items()})
    profile = _model(name, eager=False).profile(data["x"][:batch], data["y"][:batch], batch_size=batch)
    return Measured(name, batch, *timed[0], *timed[1], profile.outside_share, tuple(_differences(*ends)))


def _model(name: str, eager: bool) -> gpunet.Sequential:
    gpunet.set_random_seed(1)
    model: gpunet.Sequential = sequential(models.NETWORKS[name], gpunet)
    assert model.optimizer is not None
    model.compile(model.optimizer, model.loss, run_eagerly=eager)
    return model


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return for all weights that differ in bits how many do, and by how much at most."""
    found = []
    for (path, a), b in zip(one.items(), other.values(), strict=True):
        differ = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
        if differ.any():
            found.append(f"{path}: {np.count_nonzero(differ)} of {a.size} differ, by up to {np.abs(a - b).max():.3g}")
    return found


def report(rows: Sequence[Measured], device: str) -> str:
    """Return a table in Markdown."""
    lines = [
        f"# A step of gpunet on {device}",
        "",
        "Times in microseconds; `host` is what the host needs to ask for a step.",
        "",
        "| network | batch | graph | host | op by op | host | outside of ops | same bits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        times = (row.graph_seconds, row.graph_host_seconds, row.eager_seconds, row.eager_host_seconds)
        cells = " | ".join(f"{1e6 * seconds:.1f}" for seconds in times)
        same = "yes" if not row.differences else "; ".join(row.differences)
        lines.append(f"| {row.network} | {row.batch} | {cells} | {row.outside_ops:.1%} | {same} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--steps", type=int, default=200, help="steps of an epoch (200)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    place = gpunet.set_device(options.device)
    rows = [measure(name, batch, options.steps) for name in NETWORKS for batch in options.batches]
    content = {"device": examine(place).name, "gpunet": gpunet.__version__, "rows": [asdict(row) for row in rows]}
    (options.out / "step.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = report(rows, f"{place}, {examine(place).name}")
    (options.out / "step.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(1 if any(row.differences for row in rows) else 0)


if __name__ == "__main__":
    main()
