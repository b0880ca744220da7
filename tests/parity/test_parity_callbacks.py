"""Callbacks that watch a value decide as Keras's do: when training ends, which weights stay, what the rate becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import callbacks

EPOCHS = 12
X, Y = np.linspace(-1, 1, 6, dtype=np.float32).reshape(6, 1), np.ones((6, 1), np.float32)


def _watched(library: Any, layers: Any, base: Any, values: list[float], watching: Any) -> tuple[list[float], int]:
    """Train on planted values of `val_loss`; return the rates of the epochs, and whose weights the model ends with."""

    class Plant(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.rates: list[float] = []
            self.kernels: list[Any] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_loss"] = values[epoch]
            self.rates.append(float(np.asarray(self.model.optimizer.learning_rate)))
            self.kernels.append(self.model.get_weights()[0])

    model = library.Sequential([layers.Input((1,)), layers.Dense(1)])
    model.compile(library.optimizers.SGD(0.01), "mse")
    plant = Plant()
    model.fit(X, Y, epochs=EPOCHS, verbose=0, callbacks=[plant, *watching])
    last = model.get_weights()[0]
    return plant.rates, [np.array_equal(last, kernel) for kernel in plant.kernels].index(True)


@pytest.mark.parametrize("seed", range(12))
def test_decisions(seed: int) -> None:
    import keras

    rng = np.random.default_rng(seed)
    values = (5 + rng.integers(-4, 5, size=EPOCHS) / 2 - np.arange(EPOCHS) / 8).tolist()
    stopping: dict[str, Any] = {
        "patience": int(rng.integers(0, 5)),
        "min_delta": float(rng.choice([0, 0.25, 1])),
        "baseline": [None, 4.0, 6.0][rng.integers(3)],
        "restore_best_weights": bool(rng.integers(2)),
        "start_from_epoch": int(rng.integers(0, 4)),
        "mode": ["auto", "min", "max"][rng.integers(3)],
    }
    reducing: dict[str, Any] = {
        "factor": float(rng.choice([0.1, 0.5])),
        "patience": int(rng.integers(0, 4)),
        "min_delta": float(rng.choice([0, 1e-4, 0.5])),
        "cooldown": int(rng.integers(0, 3)),
        "min_lr": float(rng.choice([0, 0.004])),
        "mode": stopping["mode"],
    }
    found = [
        _watched(
            *(library, library.layers, module.Callback, values),
            [module.ReduceLROnPlateau(**reducing), module.EarlyStopping(**stopping)],
        )
        for library, module in ((gpunet, callbacks), (keras, keras.callbacks))
    ]
    (rates, kept), (expected_rates, expected_kept) = found
    np.testing.assert_allclose(rates, expected_rates, rtol=1e-6)
    assert kept == expected_kept
