"""Networks that are graphs of layers, for the tests of these: made anew at each call, with names of their own."""

from __future__ import annotations

from typing import Any

from gpunet.layers import (
    Activation,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    Dot,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    Multiply,
    ReLU,
    Subtract,
)
from gpunet.models import Functional, Model, Sequential


def residual(dtype: str = "float32", classes: int = 3, blocks: int = 2) -> Functional:
    """Return blocks of two convolutions beside a skip connection, some with a projection, as in a ResNet."""
    image = x = Input((6, 6, 2), dtype=dtype, name="image")
    for number in range(blocks):
        filters = 2 + number
        h = Conv2D(filters, 3, padding="same", dtype=dtype, name=f"first_{number}")(x)
        h = Activation("tanh", dtype=dtype, name=f"tanh_{number}")(h)
        h = Conv2D(filters, 3, padding="same", dtype=dtype, name=f"second_{number}")(h)
        if number:
            x = Conv2D(filters, 1, dtype=dtype, name=f"projection_{number}")(x)
        x = Activation("elu", dtype=dtype, name=f"elu_{number}")(Add(dtype=dtype, name=f"add_{number}")([x, h]))
    x = GlobalAveragePooling2D(dtype=dtype, name="mean")(x)
    return Model(image, Dense(classes, activation="softmax", dtype=dtype, name="classes")(x), name="residual")


def u_shaped(dtype: str = "float32") -> Functional:
    """Return a way down and a way up, with what the way down found put beside what the way up has, as in a U-Net."""
    image = Input((4, 4, 1), dtype=dtype, name="image")
    down = Conv2D(2, 3, padding="same", activation="tanh", dtype=dtype, name="down")(image)
    low = MaxPooling2D(2, strides=1, padding="same", dtype=dtype, name="pool")(down)
    low = Conv2D(3, 3, padding="same", activation="tanh", dtype=dtype, name="bottom")(low)
    both = Concatenate(dtype=dtype, name="both")([low, down, image])
    return Model(image, Conv2D(1, 1, dtype=dtype, name="mask")(both), name="u_shaped")


def siamese(dtype: str = "float32") -> Functional:
    """Return one encoder, a Sequential, of two inputs, and what tells the codes apart."""
    encoder = Sequential(
        [Input((5,), dtype=dtype), Dense(4, "tanh", dtype=dtype, name="hidden"), Dense(3, dtype=dtype, name="code")],
        name="encoder",
    )
    left, right = Input((5,), dtype=dtype, name="left"), Input((5,), dtype=dtype, name="right")
    a, b = encoder(left), encoder(right)
    cosine = Dot(axes=-1, normalize=True, dtype=dtype, name="cosine")([a, b])
    apart = Dense(1, dtype=dtype, name="apart")(Subtract(dtype=dtype, name="difference")([a, b]))
    return Model([left, right], Concatenate(dtype=dtype, name="result")([cosine, apart]), name="siamese")


def two_and_two(dtype: str = "float32") -> Functional:
    """Return a model of two inputs and two outputs, of which one is used further on as well."""
    image, extra = Input((4, 4, 1), dtype=dtype, name="image"), Input((3,), dtype=dtype, name="extra")
    seen = Flatten(dtype=dtype, name="flat")(Conv2D(2, 2, activation="tanh", dtype=dtype, name="conv")(image))
    gate = Dense(18, activation="sigmoid", dtype=dtype, name="gate")(extra)
    x = Multiply(dtype=dtype, name="gated")([seen, gate])
    kind = Dense(3, activation="softmax", dtype=dtype, name="kind")(x)
    size = Dense(1, dtype=dtype, name="size")(Concatenate(dtype=dtype, name="all")([x, kind]))
    return Model([image, extra], [kind, size], name="two_and_two")


def fusible() -> Functional:
    """Return a graph with neighbours that can run as one op, and one that could if nobody else took what it gives."""
    x = Input((6, 6, 2), name="x")
    a = ReLU(name="relu")(Conv2D(3, 3, padding="same", name="conv")(x))
    a = MaxPooling2D(2, name="pool")(a)
    b = Conv2D(3, 3, strides=2, padding="same", name="shared")(x)
    b, c = Activation("tanh", name="also")(b), ReLU(name="after")(b)
    y = Flatten(name="flat")(Add(name="sum")([a, b, c]))
    return Model(x, Dense(4, activation="softmax", name="out")(y), name="fusible")


MODELS: dict[str, Any] = {"residual": residual, "u_shaped": u_shaped, "siamese": siamese}
