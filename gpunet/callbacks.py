"""Callbacks for `fit`, with Keras's names: `from gpunet.callbacks import CSVLogger`."""

from gpunet.training.backup import BackupAndRestore
from gpunet.training.callbacks import Callback, CSVLogger, History, JsonLog, LambdaCallback

__all__ = ["BackupAndRestore", "CSVLogger", "Callback", "History", "JsonLog", "LambdaCallback"]
