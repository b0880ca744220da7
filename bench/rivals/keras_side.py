"""Keras 3 on the backend that the mode names: networks by `train_on_batch` and `predict_on_batch`, as gpunet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases import models
from bench.cases.case import Data, HostArray
from bench.rivals.sequential import sequential
from bench.rivals.side import Side


class KerasSide(Side):
    def __init__(self, mode: str, device: str, threads: int) -> None:
        super().__init__(mode, device, threads)
        if mode == "tensorflow":
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        import keras

        self._keras: Any = keras
        assert keras.backend.backend() == mode, f"Keras runs on {keras.backend.backend()}"

    def versions(self) -> dict[str, str]:
        backend = __import__(self.mode)
        return {"Keras": self._keras.__version__, self.mode: backend.__version__}

    def synchronize(self) -> None:
        """Both calls return values on the host."""

    def to_host(self, outputs: Any) -> HostArray:
        return np.asarray(outputs)

    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        model = sequential(models.NETWORKS[name], self._keras)
        x, y = data["x"], data["y"]

        def train() -> float:
            # Keras returns the running mean of the losses since the last reset.
            model.reset_metrics()
            return float(np.ravel(model.train_on_batch(x, y))[0])

        return train, lambda: model.predict_on_batch(x)


SIDE = KerasSide
