"""A program that trains with checkpoints, in children that may be killed; tests/test_kills.py talks to it.

For each line of JSON it reads it forks a child, so that nothing is imported twice, and answers how the child ended. A
line has the `folder` of a training, the `device`, and perhaps `after`, seconds until SIGKILL, or `at`, a call of the
system and its number: before that call the child kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential
from gpunet.backend.arrays import to_host
from gpunet.backend.random import random_state
from gpunet.callbacks import BackupAndRestore, CSVLogger

SAMPLES, BATCH, EPOCHS = 44, 8, 4


def train(folder: Path, device: str) -> None:
    """Train in `folder`, from the last checkpoint if there is one; at the end write down all that came of it."""
    gpunet.set_device(device)
    gpunet.set_random_seed(2)
    x = np.random.default_rng(0).normal(size=(SAMPLES, 6, 6, 1)).astype(np.float32)
    y = np.arange(SAMPLES) % 3
    layers = [
        Input((6, 6, 1)),
        Conv2D(4, 3, activation="relu"),
        Dropout(0.3),
        Flatten(),
        Dense(3, activation="softmax"),
    ]
    model = Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [CSVLogger(folder / "log.csv"), BackupAndRestore(folder / "backup", 1, delete_checkpoint=False)]
    history = model.fit(x, y, BATCH, EPOCHS, verbose=0, callbacks=callbacks, validation_split=0.2)
    assert model.optimizer is not None
    result = {
        "weights": [array.tobytes().hex() for array in model.get_weights()],
        "optimizer": {name: to_host(array).tobytes().hex() for name, array in model.optimizer.variables.items()},
        "streams": {name: stream.state for name, stream in model.named_streams()},
        "random": random_state(),
        "history": history.history,
        "log": (folder / "log.csv").read_text(),
    }
    (folder / "result.json").write_text(json.dumps(result))


def kill_at(call: str, number: int) -> None:
    """Kill this process before the `number`-th call of os.`call`."""
    real, count = getattr(os, call), iter(range(1, number))

    def counted(*args: Any, **options: Any) -> Any:
        if next(count, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(os, call, counted)


def _child(order: dict[str, Any]) -> None:
    try:
        if "at" in order:
            kill_at(*order["at"])
        train(Path(order["folder"]), order["device"])
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _wait(child: int, after: float) -> int:
    """Return the status with which `child` ended; it is killed if that is not within `after` seconds."""
    end = time.monotonic() + after
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(order)
        code = os.waitstatus_to_exitcode(_wait(child, order.get("after", 300)))
        sys.stdout.write(json.dumps({"killed": code == -signal.SIGKILL, "code": code}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
