"""Callbacks for `fit`, with Keras's names: `from gpunet.callbacks import EarlyStopping`."""

from gpunet.training.backup import BackupAndRestore
from gpunet.training.callback import Callback
from gpunet.training.callbacks.functions import LambdaCallback, LearningRateScheduler
from gpunet.training.callbacks.logs import CSVLogger, JsonLog
from gpunet.training.callbacks.model_checkpoint import ModelCheckpoint
from gpunet.training.callbacks.monitor import EarlyStopping, ReduceLROnPlateau, TerminateOnNaN
from gpunet.training.callbacks.swap_ema import SwapEMAWeights
from gpunet.training.callbacks.tensorboard import TensorBoard
from gpunet.training.history import History
from gpunet.training.progress import ProgbarLogger

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "JsonLog",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
