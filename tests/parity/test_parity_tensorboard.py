"""TensorBoard's own reader finds in our files what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpunet.saving.event_file import EventFile


def test_its_reader_reads_our_files(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with EventFile(tmp_path / "events.out.tfevents.1.gpunet") as file:
        for step in (0, 1, 200, 2**40):
            file.add_scalar("loss", step / 2, step)
        file.add_histogram("kernel", np.arange(7.0), 3)
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(s, s / 2) for s in (0, 1, 200, 2**40)]
    (histogram,) = events.Histograms("kernel")
    value = histogram.histogram_value
    assert (histogram.step, value.min, value.max, value.num, value.sum) == (3, 0, 6, 7, 21)
    assert sum(value.bucket) == 7 and len(value.bucket_limit) == 30
