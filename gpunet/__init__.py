"""Neural-network layers with hand-written CUDA kernels, Keras's names and semantics, and a NumPy fallback.

    from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential

    model = Sequential([Input((8, 8, 1)), Conv2D(16, 3, activation="relu"), Flatten(), Dense(10, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=5)

Importing this package looks for no device and imports no optional package.
"""

from gpunet import (
    activations,
    callbacks,
    constraints,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
)
from gpunet.backend.arrays import to_device, to_host
from gpunet.backend.devices import current_device, device, set_device
from gpunet.backend.random import set_random_seed
from gpunet.backend.threads import get_threads, set_threads
from gpunet.floatx import floatx, set_floatx
from gpunet.layers import (
    Activation,
    AveragePooling2D,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    Input,
    InputLayer,
    Layer,
    MaxPool2D,
    MaxPooling2D,
    ReLU,
    Reshape,
    Softmax,
)
from gpunet.models import Sequential, load_model
from gpunet.version import __version__

__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "Input",
    "InputLayer",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Reshape",
    "Sequential",
    "Softmax",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "current_device",
    "datasets",
    "device",
    "floatx",
    "get_threads",
    "initializers",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "set_device",
    "set_floatx",
    "set_random_seed",
    "set_threads",
    "to_device",
    "to_host",
]
