"""Layers, with Keras's names, arguments and defaults."""

from gpunet.layers.activation import Activation, ReLU, Softmax
from gpunet.layers.base import Layer
from gpunet.layers.convolution import Conv2D
from gpunet.layers.dense import Dense
from gpunet.layers.dropout import Dropout
from gpunet.layers.input import Input, InputLayer
from gpunet.layers.pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    MaxPool2D,
    MaxPooling2D,
)
from gpunet.layers.reshaping import Flatten, Reshape

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
    "Softmax",
]
