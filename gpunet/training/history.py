"""History: what `fit` returns."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.training.callback import Callback, Logs


class History(Callback):
    """The logs of every epoch: `history` maps each name to one value an epoch, `epoch` lists the epochs' numbers."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self._model: weakref.ref[Any] | None = None

    @property
    def model(self) -> Any:
        """The model as long as somebody else keeps it: it has its history, and is to be freed when it is dropped."""
        return None if self._model is None else self._model()

    def set_model(self, model: Any) -> None:
        self._model = weakref.ref(model)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_model": None}  # a copy of a model sets it at its next training

    def get_state(self) -> dict[str, Any]:
        return {"history": self.history, "epoch": self.epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        epochs = [arguments.integer("History", "epoch", epoch, 0) for epoch in state["epoch"]]
        history = {name: list(map(float, values)) for name, values in state["history"].items()}
        self.history, self.epoch = history, epochs

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
