"""Neural-network layers with hand-written CUDA kernels, Keras's names and semantics, and a NumPy fallback.

    from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential

    model = Sequential([Input((8, 8, 1)), Conv2D(16, 3, activation="relu"), Flatten(), Dense(10, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=5)

Importing this package looks for no device and imports no optional package; its own modules are imported when one of
their names is first asked for.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpunet import (
        activations,
        callbacks,
        constraints,
        datasets,
        initializers,
        inspection,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        regularizers,
        utils,
    )
    from gpunet.backend.arrays import to_device, to_host
    from gpunet.backend.devices import current_device, device, set_device
    from gpunet.backend.random import random_seed, set_random_seed
    from gpunet.backend.threads import get_threads, set_threads
    from gpunet.default_dtype import floatx, set_floatx
    from gpunet.identifiers import register_serializable
    from gpunet.layers import *  # noqa: F403 — all names of __all__ there
    from gpunet.models import Model, Sequential, clone_model, load_model
    from gpunet.ops.convolution_policy import convolution, current_convolution, set_convolution
    from gpunet.ops.tiles import set_tuning

    __version__: str

__all__ = [
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "clone_model",
    "constraints",
    "convolution",
    "current_convolution",
    "current_device",
    "datasets",
    "device",
    "floatx",
    "get_threads",
    "initializers",
    "inspection",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "random_seed",
    "register_serializable",
    "regularizers",
    "set_convolution",
    "set_device",
    "set_floatx",
    "set_random_seed",
    "set_threads",
    "set_tuning",
    "to_device",
    "to_host",
    "utils",
]  # and all names of gpunet.layers, see below

# Where the names that are not modules come from: the imports above, for those who run gpunet.
_HOMES = {
    "gpunet.backend.arrays": ("to_device", "to_host"),
    "gpunet.backend.devices": ("current_device", "device", "set_device"),
    "gpunet.backend.random": ("random_seed", "set_random_seed"),
    "gpunet.backend.threads": ("get_threads", "set_threads"),
    "gpunet.default_dtype": ("floatx", "set_floatx"),
    "gpunet.identifiers": ("register_serializable",),
    "gpunet.layers": (
        *("Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "AveragePooling1D"),
        *("AveragePooling2D", "AvgPool1D", "AvgPool2D", "BatchNormalization", "CenterCrop", "Concatenate"),
        *("Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Convolution1D", "Convolution1DTranspose"),
        *("Convolution2D", "Convolution2DTranspose", "Cropping1D", "Cropping2D", "Dense", "DepthwiseConv1D"),
        *("DepthwiseConv2D", "Divide", "Dot", "Dropout", "ELU", "Embedding", "Flatten", "GaussianDropout"),
        *("GaussianNoise", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAvgPool1D"),
        *("GlobalAvgPool2D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"),
        *("GroupNormalization", "Identity", "Input", "InputLayer", "Lambda", "Layer", "LayerNormalization"),
        *("LeakyReLU", "MaxPool1D", "MaxPool2D", "MaxPooling1D", "MaxPooling2D", "Maximum", "Minimum"),
        *("Multiply", "Normalization", "PReLU", "Permute", "RMSNormalization", "RandomCrop", "RandomFlip"),
        *("RandomRotation", "RandomTranslation", "RandomZoom", "Ratio", "ReLU", "RepeatVector", "Rescaling", "Reshape"),
        *("Resizing", "SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D"),
        *("SeparableConvolution2D", "Softmax", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
        *("Subtract", "UnitNormalization", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D"),
        *("add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract"),
    ),
    "gpunet.models": ("Model", "Sequential", "clone_model", "load_model"),
    "gpunet.ops.convolution_policy": ("convolution", "current_convolution", "set_convolution"),
    "gpunet.ops.tiles": ("set_tuning",),
}
__all__ += _HOMES["gpunet.layers"]
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import what `name` stands for (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module 'gpunet' has no attribute {name!r}")
        if name == "__version__":
            return importlib.import_module("gpunet.version").version()
        if name not in _HOME_OF:
            return importlib.import_module(f"gpunet.{name}")
        value = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
