"""Code as tutorials have it, with `import gpunet as keras` in the place of `import keras`: it runs, and does its work.

The data are small ones made here; all else is as people paste it, their names and spellings too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunet as keras
from gpunet import layers, saving
from gpunet.backend.arrays import HostArray


def _images(count: int, *shape: int) -> tuple[HostArray, HostArray]:
    """Return images as files have them, brighter by their class, and labels from 0 to 9."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % 10
    x = rng.integers(0, 20, (count, *shape)) + 20 * y.reshape(-1, *[1] * len(shape))
    return x.astype("uint8"), y


def _table() -> tuple[HostArray, HostArray]:
    rng = np.random.default_rng(0)
    x = rng.normal(500, 30, (64, 9))
    return x, (x[:, 0] - x[:, 1]) / 30 + 1


def test_mnist_with_dense_layers() -> None:
    num_classes = 10
    x_train, y_train = _images(80, 28, 28)
    x_train = x_train.reshape(80, 784).astype("float32") / 255
    y_train = keras.utils.to_categorical(y_train, num_classes)

    model = keras.models.Sequential()
    model.add(layers.Dense(32, activation="relu", input_shape=(784,)))
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(num_classes, activation="softmax"))
    model.summary(print_fn=lambda text: None)
    model.compile(
        loss="categorical_crossentropy", optimizer=keras.optimizers.RMSprop(learning_rate=0.01), metrics=["accuracy"]
    )
    history = model.fit(x_train, y_train, batch_size=16, epochs=4, verbose=0, validation_split=0.25)
    score = model.evaluate(x_train, y_train, verbose=0)
    assert list(map(len, history.history.values())) == [4] * 4
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"} and history.epoch == [0, 1, 2, 3]
    assert score[0] < history.history["loss"][0] and 0 <= score[1] <= 1


def test_mnist_with_convolutions(tmp_path: Path) -> None:
    input_shape = (28, 28, 1)
    x_train, y_train = _images(40, 28, 28)
    x_train = np.expand_dims(x_train.astype("float32") / 255, -1)
    model = keras.Sequential(
        [
            keras.Input(shape=input_shape),
            layers.Conv2D(4, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(8, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    losses = model.fit(x_train, y_train, batch_size=20, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    predictions = model.predict(x_train, verbose=0)
    assert np.argmax(predictions, axis=-1).shape == (40,)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, rtol=1e-5)
    keras.models.save_model(model, tmp_path / "my_model.keras")
    reconstructed = keras.models.load_model(tmp_path / "my_model.keras")
    np.testing.assert_array_equal(reconstructed.predict(x_train, verbose=0), predictions)
    with pytest.raises(TypeError, match="save_model: model must be a Model; got "):
        keras.models.save_model([model], tmp_path / "other.keras")  # type: ignore[arg-type]


def test_cifar_with_augmentation() -> None:
    x, y = _images(30, 32, 32, 3)
    y = y[:, None]  # as CIFAR's labels are
    data_augmentation = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)], name="data_augmentation"
    )
    inputs = keras.Input(shape=(32, 32, 3))
    h = data_augmentation(inputs)
    h = layers.Rescaling(1.0 / 255)(h)
    h = layers.Conv2D(4, 3, padding="same", kernel_regularizer=keras.regularizers.l2(1e-4))(h)
    h = layers.BatchNormalization()(h)
    h = layers.Activation("relu")(h)
    h = layers.MaxPooling2D()(h)
    h = layers.GlobalAveragePooling2D()(h)
    outputs = layers.Dense(10)(h)
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    history = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and {"acc", "val_acc"} <= set(history)
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))  # nothing is augmented


def test_regression_on_a_table() -> None:
    train_features, train_labels = _table()
    normalizer = layers.Normalization(axis=-1)
    normalizer.adapt(np.array(train_features))
    np.testing.assert_allclose(keras.to_host(normalizer.mean)[0], train_features.mean(axis=0), rtol=1e-5)
    model = keras.Sequential(
        [normalizer, layers.Dense(16, activation="relu"), layers.Dense(16, activation="relu"), layers.Dense(1)]
    )
    model.compile(loss="mean_absolute_error", optimizer=keras.optimizers.Adam(0.01))
    history = model.fit(train_features, train_labels, validation_split=0.2, verbose=0, epochs=8)
    assert history.history["val_loss"][-1] < history.history["val_loss"][0]
    assert model.predict(train_features[:10], verbose=0).flatten().shape == (10,)


def test_several_inputs_and_outputs() -> None:
    num_departments = 4
    title_input, image_input = keras.Input(shape=(6,), name="title"), keras.Input(shape=(8, 8, 1), name="image")
    image_features = layers.Flatten()(layers.Conv2D(2, 3, activation="relu")(image_input))
    x = layers.concatenate([layers.Dense(8, activation="relu")(title_input), image_features])
    priority_pred = layers.Dense(1, name="priority", activation="sigmoid")(x)
    department_pred = layers.Dense(num_departments, name="department")(x)
    model = keras.Model(
        inputs=[title_input, image_input], outputs={"priority": priority_pred, "department": department_pred}
    )
    model.compile(
        optimizer=keras.optimizers.RMSprop(1e-2),
        loss={
            "priority": keras.losses.BinaryCrossentropy(),
            "department": keras.losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    rng = np.random.default_rng(0)
    data = {"title": rng.integers(9, size=(32, 6)), "image": rng.random((32, 8, 8, 1))}
    priority_targets = (data["title"][:, :1] > 4).astype("float32")
    dept_targets = np.eye(num_departments)[rng.integers(0, num_departments, 32)]
    targets = {"priority": priority_targets, "department": dept_targets}
    logs = model.fit(data, targets, epochs=4, batch_size=16, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0]
    np.testing.assert_allclose(logs["loss"], np.add(logs["priority_loss"], np.multiply(0.2, logs["department_loss"])))
    assert model.predict(data, verbose=0)["department"].shape == (32, num_departments)


def test_a_list_of_callbacks(tmp_path: Path) -> None:
    class LossHistory(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.losses: list[float] = []

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.losses.append(logs.get("loss"))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            rates.append(float(self.model.optimizer.learning_rate))
            if logs.get("val_loss") < 0.1:
                self.model.stop_training = True

    rates: list[float] = []
    epochs: list[int] = []
    history = LossHistory()
    my_callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(filepath=str(tmp_path / "model.{epoch:02d}.keras"), save_best_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5, min_lr=0.001),
        keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.5 if epoch else lr),
        keras.callbacks.CSVLogger(str(tmp_path / "training.log")),
        keras.callbacks.TensorBoard(log_dir=str(tmp_path / "logs")),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch)),
        history,
    ]
    model = keras.Sequential([layers.Dense(8, activation="relu", input_dim=9), layers.Dense(1, activation="sigmoid")])
    model.compile("rmsprop", "binary_crossentropy", ["accuracy"])
    x, y = _table()
    model.fit((x - 500) / 30, y > 1, epochs=3, validation_split=0.25, callbacks=my_callbacks, verbose=0)
    assert epochs == [0, 1, 2] and len(history.losses) == 6
    assert rates == pytest.approx([0.001, 0.0005, 0.00025])
    header = (tmp_path / "training.log").read_text().splitlines()[0]
    assert header == "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss"
    kept = keras.models.load_model(max(tmp_path.glob("model.*.keras")))
    np.testing.assert_array_equal(kept.predict(x, verbose=0), model.predict(x, verbose=0))  # the best is the last here
    model.load_weights(tmp_path / "last.weights.h5")


def test_a_loss_function_is_refused_with_what_to_do() -> None:
    """It would need a derivative of code of the user's; a Loss says it in `per_sample`."""

    def custom_mean_squared_error(y_true: Any, y_pred: Any) -> Any:
        return ((y_true - y_pred) ** 2).mean(axis=-1)

    model = keras.Sequential([layers.Dense(1, input_shape=(9,))])
    with pytest.raises(TypeError, match=r"loss must be a name or a Loss; got .*derive a class from gpunet.losses.Loss"):
        model.compile("sgd", loss=custom_mean_squared_error)

    class CustomMeanSquaredError(keras.losses.Loss):
        def per_sample(self, y_true: Any, y_pred: Any) -> Any:
            d = y_pred - y_true
            return (d * d).mean(axis=-1), lambda scale: scale * 2 * d / d.shape[-1]

    x, y = _table()
    x = (x - 500) / 30
    losses = []
    for loss in (CustomMeanSquaredError(), "mse"):
        keras.utils.set_random_seed(812)
        model = keras.Sequential([layers.Dense(1, input_shape=(9,))])
        model.compile("sgd", loss=loss)
        losses.append(model.fit(x, y, epochs=3, verbose=0).history["loss"])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_loop_over_batches() -> None:
    x, y = _images(40, 8, 8, 1)
    x = x.astype("float32") / 255
    model = keras.Sequential([layers.Flatten(input_shape=(8, 8, 1)), layers.Dense(10, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    means = []
    for _epoch in range(3):
        losses = []
        for step in range(len(x) // 10):
            loss, accuracy = model.train_on_batch(x[step * 10 : step * 10 + 10], y[step * 10 : step * 10 + 10])
            losses.append(float(loss))
            assert 0 <= accuracy <= 1
        means.append(np.mean(losses))
        model.reset_metrics()
    assert means[-1] < means[0] and model.metrics_names == ["loss", "accuracy"]
    assert set(model.test_on_batch(x, y, return_dict=True)) == {"loss", "accuracy"}
    assert model.predict_on_batch(x).shape == (40, 10)


def test_a_schedule_of_the_rate() -> None:
    lr_schedule = keras.optimizers.schedules.ExponentialDecay(initial_learning_rate=1e-2, decay_steps=2, decay_rate=0.5)

    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, initial_learning_rate: float) -> None:
            self.initial_learning_rate = initial_learning_rate

        def __call__(self, step: Any) -> Any:
            return self.initial_learning_rate / 2 ** (step / 2)

    x, y = _images(40, 4)
    weights = []
    for schedule in (lr_schedule, Halving(1e-2)):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([layers.InputLayer(shape=(4,)), layers.Dense(10), layers.Activation("softmax")])
        optimizer = keras.optimizers.SGD(learning_rate=schedule, momentum=0.9, nesterov=True)
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["acc"])
        model.fit(x / 255, y, batch_size=10, verbose=0)
        weights.append(model.get_weights()[0])
        assert optimizer.learning_rate == pytest.approx(1e-2 / 4)
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)


def test_own_layers_are_registered_as_keras_has_it(tmp_path: Path) -> None:
    @saving.register_keras_serializable(package="my_package", name="Doubled")
    class Doubled(layers.Layer):
        def forward(self, x: Any, training: bool) -> Any:
            return 2 * x, lambda dy: 2 * dy

    model = keras.Sequential([keras.Input((3,)), Doubled()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(np.ones((1, 3)), verbose=0), [[2, 2, 2]])
