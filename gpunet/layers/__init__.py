"""Layers, with Keras's names, arguments and defaults."""

from gpunet.layers import arithmetic as arithmetic  # for symbolic tensors, which come before all layers
from gpunet.layers.activation import (
    Activation,
    ReLU,
    Softmax,
)
from gpunet.layers.augmentation import (
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from gpunet.layers.base import (
    Layer,
)
from gpunet.layers.convolution import (
    Conv1D,
    Conv2D,
    Convolution1D,
    Convolution2D,
)
from gpunet.layers.convolution_depthwise import (
    DepthwiseConv1D,
    DepthwiseConv2D,
)
from gpunet.layers.convolution_separable import (
    SeparableConv1D,
    SeparableConv2D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
from gpunet.layers.convolution_transposed import (
    Conv1DTranspose,
    Conv2DTranspose,
    Convolution1DTranspose,
    Convolution2DTranspose,
)
from gpunet.layers.dense import (
    Dense,
)
from gpunet.layers.division import (
    Divide,
    Ratio,
)
from gpunet.layers.dropout import (
    Dropout,
)
from gpunet.layers.embedding import (
    Embedding,
)
from gpunet.layers.function import (
    Lambda,
)
from gpunet.layers.identity import (
    ActivityRegularization,
    Identity,
)
from gpunet.layers.input import (
    Input,
    InputLayer,
)
from gpunet.layers.leaky import (
    ELU,
    LeakyReLU,
    PReLU,
)
from gpunet.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from gpunet.layers.noise import (
    AlphaDropout,
    GaussianDropout,
    GaussianNoise,
)
from gpunet.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from gpunet.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    AvgPool2D,
    MaxPool1D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from gpunet.layers.pooling_global import (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
)
from gpunet.layers.reshaping import (
    Flatten,
    Reshape,
)
from gpunet.layers.resizing import (
    CenterCrop,
    Resizing,
    UpSampling2D,
)
from gpunet.layers.serialization import (
    deserialize as deserialize,
)
from gpunet.layers.serialization import (
    serialize as serialize,
)
from gpunet.layers.spatial import (
    Cropping1D,
    Cropping2D,
    Permute,
    RepeatVector,
    UpSampling1D,
    ZeroPadding1D,
    ZeroPadding2D,
)
from gpunet.layers.spatial_dropout import (
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)

__all__ = [
    "ELU",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNormalization",
    "CenterCrop",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Divide",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "Ratio",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Subtract",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]
