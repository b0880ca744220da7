"""Callbacks for `fit`, with Keras's names: `from gpunet.callbacks import CSVLogger`."""

from gpunet.training.callbacks import Callback, CSVLogger, History, JsonLog, LambdaCallback

__all__ = ["CSVLogger", "Callback", "History", "JsonLog", "LambdaCallback"]
