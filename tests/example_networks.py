"""Networks as tutorials write them, of Keras or of gpunet: `keras` is either, and all sizes are those of the papers.

Smaller ones, for tests, come by the arguments. Weights are named by nobody, as in tutorials.
"""

from __future__ import annotations

from typing import Any, NamedTuple


def resnet18(keras: Any, input_shape: Any = (224, 224, 3), num_classes: int = 1000, filters: int = 64) -> Any:
    """Return the ResNet-18 of He et al. 2016: four stages of two blocks each, projections where sizes change."""
    layers = keras.layers

    def block(x: Any, filters: int, strides: int) -> Any:
        shortcut = x
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        if strides != 1:
            shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(shortcut)
            shortcut = layers.BatchNormalization()(shortcut)
        x = layers.Add()([shortcut, x])
        return layers.Activation("relu")(x)

    inputs = keras.Input(shape=input_shape)
    x = layers.Conv2D(filters, 7, strides=2, padding="same", use_bias=False, kernel_initializer="he_normal")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for stage in range(4):
        for number in range(2):
            x = block(x, filters * 2**stage, 2 if stage > 0 and number == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(num_classes, activation="softmax")(x)
    return keras.Model(inputs, outputs, name="resnet18")


def resnet20(keras: Any, input_shape: Any = (32, 32, 3), num_classes: int = 10, filters: int = 16) -> Any:
    """Return the ResNet-20 for CIFAR-10 in the form of Keras's example: three stages of three blocks each."""
    layers = keras.layers

    def resnet_layer(inputs: Any, num_filters: int, kernel_size: int = 3, strides: int = 1, plain: bool = False) -> Any:
        x = layers.Conv2D(
            num_filters,
            kernel_size=kernel_size,
            strides=strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.l2(1e-4),
        )(inputs)
        return x if plain else layers.BatchNormalization()(x)

    inputs = keras.Input(shape=input_shape)
    x = layers.Activation("relu")(resnet_layer(inputs, filters))
    for stack in range(3):
        for res_block in range(3):
            strides = 2 if stack > 0 and res_block == 0 else 1
            y = layers.Activation("relu")(resnet_layer(x, filters, strides=strides))
            y = resnet_layer(y, filters)
            if stack > 0 and res_block == 0:
                x = resnet_layer(x, filters, kernel_size=1, strides=strides, plain=True)
            x = layers.add([x, y])
            x = layers.Activation("relu")(x)
        filters *= 2
    size = input_shape[0] // 4
    x = layers.AveragePooling2D(pool_size=size)(x)
    y = layers.Flatten()(x)
    outputs = layers.Dense(num_classes, activation="softmax", kernel_initializer="he_normal")(y)
    return keras.Model(inputs=inputs, outputs=outputs)


_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_WIDTHS = (2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)


def mobilenet(
    keras: Any, input_shape: Any = (224, 224, 3), classes: int = 1000, filters: int = 32, blocks: int = 13
) -> Any:
    """Return the first MobileNet of Howard et al. 2017: convolutions by channel, and between the channels."""
    layers = keras.layers
    inputs = layers.Input(shape=input_shape)
    x = layers.Conv2D(filters, (3, 3), strides=(2, 2), padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    for strides, width in zip(_STRIDES[:blocks], _WIDTHS[:blocks], strict=True):
        x = layers.DepthwiseConv2D((3, 3), strides=strides, padding="same", depth_multiplier=1, use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU(6.0)(x)
        x = layers.Conv2D(filters * width, (1, 1), padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU(6.0)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(1e-3)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def separable(keras: Any, input_shape: Any = (128, 128, 3), classes: int = 1000, filters: int = 32) -> Any:
    """Return a network of separable convolutions with skip connections, after Keras's example 'from scratch'."""
    layers = keras.layers
    inputs = keras.Input(shape=input_shape)
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    previous_block_activation = x
    for size in (2 * filters, 4 * filters):
        x = layers.Activation("relu")(x)
        x = layers.SeparableConv2D(size, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        residual = layers.Conv2D(size, 1, strides=2, padding="same")(previous_block_activation)
        x = layers.add([x, residual])
        previous_block_activation = x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def unet(keras: Any, input_size: Any = (256, 256, 1), filters: int = 64, upsampling: bool = False) -> Any:
    """Return the U-Net of Ronneberger et al. 2015, up by transposed convolutions or by repeating and convolving."""
    layers = keras.layers

    def double_conv(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        return x

    inputs = keras.Input(input_size)
    x, skips = inputs, []
    for level in range(4):
        x = double_conv(x, filters * 2**level)
        skips.append(x)
        x = layers.MaxPooling2D(pool_size=(2, 2))(x)
    x = double_conv(x, filters * 16)
    for level in reversed(range(4)):
        if upsampling:
            x = layers.UpSampling2D(size=(2, 2))(x)
            x = layers.Conv2D(filters * 2**level, 2, activation="relu", padding="same")(x)
        else:
            x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2, padding="same")(x)
        x = layers.concatenate([skips[level], x], axis=3)
        x = double_conv(x, filters * 2**level)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x), name="unet")


def autoencoder(keras: Any, input_shape: Any = (28, 28, 1), filters: int = 32) -> Any:
    """Return Keras's example of a convolutional autoencoder."""
    layers = keras.layers
    input = layers.Input(shape=input_shape)
    # Encoder
    x = layers.Conv2D(filters, (3, 3), activation="relu", padding="same")(input)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Conv2D(filters, (3, 3), activation="relu", padding="same")(x)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    # Decoder
    x = layers.Conv2DTranspose(filters, (3, 3), strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(filters, (3, 3), strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2D(1, (3, 3), activation="sigmoid", padding="same")(x)
    return keras.Model(input, x)


def generator(keras: Any, size: int = 7, filters: int = 64, noise: int = 100) -> Any:
    """Return the generator of a DCGAN (Radford et al. 2016), as for MNIST."""
    layers = keras.layers
    model = keras.Sequential()
    model.add(layers.Dense(size * size * 4 * filters, use_bias=False, input_shape=(noise,)))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(layers.Reshape((size, size, 4 * filters)))
    model.add(layers.Conv2DTranspose(2 * filters, (5, 5), strides=(1, 1), padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(layers.Conv2DTranspose(filters, (5, 5), strides=(2, 2), padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(layers.Conv2DTranspose(1, (5, 5), strides=(2, 2), padding="same", use_bias=False, activation="tanh"))
    return model


def discriminator(keras: Any, size: int = 28, filters: int = 64) -> Any:
    """Return the discriminator that goes with it."""
    layers = keras.layers
    model = keras.Sequential()
    model.add(layers.Conv2D(filters, (5, 5), strides=(2, 2), padding="same", input_shape=[size, size, 1]))
    model.add(layers.LeakyReLU())
    model.add(layers.Dropout(0.3))
    model.add(layers.Conv2D(2 * filters, (5, 5), strides=(2, 2), padding="same"))
    model.add(layers.LeakyReLU())
    model.add(layers.Dropout(0.3))
    model.add(layers.Flatten())
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


def base(keras: Any, input_shape: Any = (160, 160, 3), filters: int = 32) -> Any:
    """Return what stands for a pretrained base: convolutions with batch normalization, without a top."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape=input_shape),
            layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(2 * filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ],
        name="base",
    )


def transfer(keras: Any, base_model: Any, input_shape: Any = (160, 160, 3)) -> Any:
    """Return a classifier on top of a frozen base, which runs as in inference even while the top is trained."""
    layers = keras.layers
    base_model.trainable = False
    inputs = keras.Input(shape=input_shape)
    x = base_model(inputs, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(1)(x), name="transfer")


def _transfer(keras: Any, input_shape: Any = (160, 160, 3), filters: int = 32) -> Any:
    return transfer(keras, base(keras, input_shape, filters), input_shape)


def _upsampled_unet(keras: Any, **sizes: Any) -> Any:
    return unet(keras, upsampling=True, **sizes)


class Example(NamedTuple):
    """A network: its number of parameters in full size, and what makes it small enough for tests."""

    make: Any
    parameters: int
    small: dict[str, Any]
    loss: Any = "sparse_categorical_crossentropy"


SMALL_IMAGE = (8, 8, 3)
EXAMPLES = {
    "resnet18": Example(resnet18, 11_699_112, {"input_shape": SMALL_IMAGE, "num_classes": 4, "filters": 2}),
    "resnet20": Example(resnet20, 274_442, {"input_shape": SMALL_IMAGE, "num_classes": 4, "filters": 2}),
    "mobilenet": Example(mobilenet, 4_253_864, {"input_shape": SMALL_IMAGE, "classes": 4, "filters": 4, "blocks": 4}),
    "separable": Example(separable, 152_520, {"input_shape": SMALL_IMAGE, "classes": 4, "filters": 4}),
    "unet": Example(unet, 31_030_593, {"input_size": (16, 16, 1), "filters": 2}, "binary_crossentropy"),
    "upsampled unet": Example(
        _upsampled_unet, 31_030_593, {"input_size": (16, 16, 1), "filters": 2}, "binary_crossentropy"
    ),
    "autoencoder": Example(autoencoder, 28_353, {"input_shape": (8, 8, 1), "filters": 4}, "mse"),
    "generator": Example(generator, 2_330_944, {"size": 2, "filters": 2, "noise": 5}, "mse"),
    "discriminator": Example(discriminator, 212_865, {"size": 8, "filters": 8}, "binary_crossentropy"),
    "transfer": Example(_transfer, 19_745, {"input_shape": SMALL_IMAGE, "filters": 4}, "mse"),
}
