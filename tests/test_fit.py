"""compile, fit, evaluate, predict and the on_batch methods."""

from __future__ import annotations

import math
import signal
from typing import Any

import checks
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential
from gpunet.backend import emulator
from gpunet.backend.arrays import Device, HostArray, device_of
from gpunet.callbacks import Callback, LambdaCallback
from gpunet.datasets import load_digits
from gpunet.training.step import Step


def _digits(n: int) -> tuple[HostArray, HostArray]:
    (x, y), _ = load_digits()
    return x[:n] / np.float32(16), y[:n]


def _small_cnn() -> Sequential:
    model = Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(8, 3, strides=2, activation="relu"),
            Flatten(),
            Dropout(0.1),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile(gpunet.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def _linear(loss: Any = "mse", **arguments: Any) -> Sequential:
    """Return y = w x with w = 1, trained by plain gradient descent."""
    model = Sequential([Input((1,)), Dense(1, use_bias=False, kernel_initializer="ones", **arguments)])
    model.compile(gpunet.optimizers.SGD(0.5), loss)
    return model


def _column(*values: float) -> HostArray:
    return np.array(values, np.float32)[:, None]


def _bits(model: Sequential) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


# Learning


def test_fit_learns(device: Device) -> None:
    x, y = _digits(400)
    model = _small_cnn()
    history = model.fit(x, y, epochs=8, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert history.history["accuracy"][-1] > 0.8
    assert model.evaluate(x, y, verbose=0)[1] > 0.85


def test_two_runs_have_the_same_bits(device: Device) -> None:
    x, y = _digits(40)
    runs = []
    for order in ("forward", 7):
        gpunet.set_random_seed(3)
        model = _small_cnn()
        with emulator.configured(order=order):  # of the threads of a block; only `emulated` has one
            history = model.fit(x, y, batch_size=16, epochs=2, verbose=0)
        runs.append((_bits(model), history.history))
    assert runs[0] == runs[1]


def test_the_seed_decides(device: Device) -> None:
    x, y = _digits(40)
    losses = []
    for seed in (1, 2):
        gpunet.set_random_seed(seed)
        losses.append(_small_cnn().fit(x, y, verbose=0).history["loss"])
    assert losses[0] != losses[1]


def test_one_step_of_gradient_descent(device: Device) -> None:
    model = _linear()
    x, y = _column(1, 2), _column(3, 5)
    # loss = mean (w x - y)^2, its gradient at w = 1: mean 2 x (w x - y) = (2 * -2 + 4 * -3) / 2 = -8
    assert model.train_on_batch(x, y) == pytest.approx((4 + 9) / 2)
    np.testing.assert_allclose(model.get_weights()[0], [[1 + 0.5 * 8]])


def test_the_smaller_last_batch_is_trained_and_weighed(device: Device) -> None:
    model = _linear()
    model.optimizer.learning_rate = 0.0
    x, y = _column(0, 0, 0, 0, 0), _column(1, 1, 1, 1, 6)
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert history.history["loss"] == [pytest.approx((4 * 1 + 36) / 5)]
    assert model.optimizer.iterations == 2
    assert model.evaluate(x, y, batch_size=2, verbose=0) == pytest.approx((4 * 1 + 36) / 5)


def test_the_loss_has_the_regularizers_in_it(device: Device) -> None:
    model = _linear(kernel_regularizer=gpunet.regularizers.L2(0.1), activity_regularizer=gpunet.regularizers.L1(0.25))
    x, y = _column(1, 3), _column(1, 3)  # fitted exactly by w = 1: what remains are the regularizers
    expected = 0.1 * 1**2 + 0.25 * (1 + 3) / 2
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected)
    assert model.train_on_batch(x, y) == pytest.approx(expected)
    # dw = 2 * 0.1 * w + 0.25 * mean of x
    np.testing.assert_allclose(model.get_weights()[0], [[1 - 0.5 * (0.2 + 0.25 * 2)]], rtol=1e-6)


def test_a_frozen_parameter_is_not_regularized(device: Device) -> None:
    model = _linear(kernel_regularizer="l2")
    model.layers[0].trainable = False
    assert model.evaluate(_column(1), _column(1), verbose=0) == 0  # as in Keras


def test_softmax_and_cross_entropy_stay_finite_for_extreme_outputs(device: Device) -> None:
    model = Sequential([Input((1,)), Dense(2, activation="softmax", kernel_initializer="ones")])
    model.layers[0].set_weights([np.float32([[1e4, -1e4]]), np.zeros(2, np.float32)])
    model.compile(gpunet.optimizers.SGD(0.25), "sparse_categorical_crossentropy", ["accuracy"])
    loss, accuracy = model.train_on_batch(_column(1), np.array([1]))
    assert (loss, accuracy) == (2e4, 0)  # exactly: a clipped probability would give 16.1
    np.testing.assert_allclose(model.layers[0].get_weights()[1], [-0.25, 0.25])


def test_metrics_that_need_probabilities_get_them(device: Device) -> None:
    model = Sequential([Input((1,)), Dense(2, activation="softmax", kernel_initializer="zeros")])
    model.layers[0].set_weights([np.zeros((1, 2), np.float32), np.float32([1.2, 0.4])])  # probabilities 0.69 and 0.31
    metrics = [gpunet.metrics.BinaryAccuracy(threshold=0.5), "categorical_accuracy"]
    model.compile("sgd", "categorical_crossentropy", metrics)
    results = model.test_on_batch(_column(1), np.float32([[1, 0]]), return_dict=True)
    assert results["binary_accuracy"] == 1  # from logits, 0.4 and 1.2, it would be 0.5 at a threshold of 0.5
    model.layers[0].set_weights([np.zeros((1, 2), np.float32), np.float32([3.2, 2.4])])
    results = model.test_on_batch(_column(1), np.float32([[1, 0]]), return_dict=True)
    assert results["binary_accuracy"] == 1 and results["categorical_accuracy"] == 1


def test_bad_reductions_and_names_are_refused_by_compile() -> None:
    model = Sequential([Input((1,)), Dense(1)])
    with pytest.raises(ValueError, match=r"Sequential 'sequential.*'\.compile: optimizer.*'adam', 'sgd'.*'adagrad'"):
        model.compile("adagrad", "mse")
    with pytest.raises(ValueError, match=r"compile: loss.*'mse'.*got 'hinge'"):
        model.compile("sgd", "hinge")
    with pytest.raises(ValueError, match=r"compile: metrics.*got 'auc'"):
        model.compile("sgd", "mse", ["auc"])
    with pytest.raises(ValueError, match=r"compile: metrics must have different names"):
        model.compile("sgd", "mse", ["accuracy", "accuracy"])
    with pytest.raises(ValueError, match=r"compile: loss must reduce to one number"):
        model.compile("sgd", gpunet.losses.MeanSquaredError(reduction=None))
    with pytest.raises(TypeError, match="loss_weights"):
        model.compile("sgd", "mse", loss_weights=[1])
    assert not model.compiled


def test_compile_takes_adam_if_no_optimizer_is_named() -> None:
    model = Sequential([Input((1,)), Dense(1)])
    model.compile(loss="mse", run_eagerly=True, jit_compile=False)
    assert isinstance(model.optimizer, gpunet.optimizers.Adam)
    assert model.metrics_names == ["loss"]


# Freezing


def test_a_frozen_layer_keeps_its_bits_and_computes_no_gradient(device: Device, monkeypatch: Any) -> None:
    x, y = _digits(32)
    model = _small_cnn()
    model.layers[0].trainable = False
    frozen, trained = model.layers[0].get_weights(), model.layers[-1].get_weights()
    monkeypatch.setattr(gpunet.layers.convolution, "convolution_kernel_gradient", None)
    monkeypatch.setattr(gpunet.layers.convolution, "convolution_input_gradient", None)
    model.fit(x, y, verbose=0)
    for before, after in zip(frozen, model.layers[0].get_weights(), strict=True):
        checks.assert_same_bits(after, before)
    assert not np.array_equal(trained[0], model.layers[-1].get_weights()[0])


def test_a_model_without_anything_to_train_reports_its_loss(device: Device) -> None:
    model = _linear()
    model.trainable = False
    history = model.fit(_column(1, 2), _column(2, 4), verbose=0)
    assert history.history["loss"] == [pytest.approx((1 + 4) / 2)]
    assert model.get_weights()[0] == 1
    assert model.optimizer.iterations == 0

    without_weights = Sequential([Input((1,)), gpunet.ReLU()])
    without_weights.compile("sgd", "mse")
    assert without_weights.fit(_column(-1), _column(2), verbose=0).history["loss"] == [4.0]


def test_a_layer_can_be_unfrozen_later(device: Device) -> None:
    model = _linear()
    model.layers[0].trainable = False
    model.fit(_column(1), _column(2), verbose=0)
    model.layers[0].trainable = True
    model.fit(_column(1), _column(2), verbose=0)
    assert model.get_weights()[0] == pytest.approx(2)


# Validation


def test_validation_split_takes_the_last_samples() -> None:
    model = _linear()
    model.optimizer.learning_rate = 0.0
    x, y = np.zeros((10, 1), np.float32), np.arange(10, dtype=np.float32)[:, None]
    history = model.fit(x, y, validation_split=0.25, verbose=0).history  # 7 to train, as in Keras: floor(10 * 0.75)
    assert history["loss"] == [pytest.approx(np.mean(np.arange(7.0) ** 2))]
    assert history["val_loss"] == [pytest.approx(np.mean(np.array([7.0, 8.0, 9.0]) ** 2))]


def test_validation_data_stands_above_validation_split() -> None:
    model = _linear()
    model.optimizer.learning_rate = 0.0
    data = _column(0), _column(5)
    history = model.fit(_column(0, 0), _column(1, 1), validation_split=0.5, validation_data=data, verbose=0).history
    assert (history["loss"], history["val_loss"]) == ([1.0], [25.0])


@pytest.mark.parametrize(("frequency", "epochs"), [(1, [0, 1, 2, 3]), (2, [1, 3]), ([1, 4], [0, 3])])
def test_validation_frequency(frequency: Any, epochs: list[int]) -> None:
    seen = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch) if "val_loss" in logs else None)
    x = _column(0, 0)
    _linear().fit(x, x, epochs=4, validation_split=0.5, validation_freq=frequency, callbacks=[note], verbose=0)
    assert seen == epochs


def test_validation_does_not_disturb_training() -> None:
    x, y = _digits(40)
    plain, validated = [], []
    for weights, arguments in ((plain, {}), (validated, {"validation_data": (x[:5], y[:5])})):
        gpunet.set_random_seed(1)
        model = _small_cnn()
        model.fit(x, y, epochs=2, verbose=0, **arguments)
        weights += _bits(model)
    assert plain == validated


# Epochs, steps, batches


def test_steps_per_epoch_goes_on_where_the_epoch_before_stopped() -> None:
    model = _linear()
    model.optimizer.learning_rate = 0.0
    x, y = np.zeros((6, 1), np.float32), np.sqrt(np.arange(6, dtype=np.float32))[:, None]
    losses = model.fit(x, y, 1, 3, shuffle=False, steps_per_epoch=2, verbose=0).history["loss"]
    assert losses == pytest.approx([0.5, 2.5, 4.5])


def test_initial_epoch() -> None:
    history = _linear().fit(_column(1), _column(1), epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


def test_stop_training_ends_after_the_running_batch() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    model = _linear()
    history = model.fit(np.zeros((8, 1)), np.zeros((8, 1)), 2, 3, callbacks=Stop(), validation_split=0.5, verbose=0)
    assert model.optimizer.iterations == 2
    assert history.epoch == [0] and "val_loss" in history.history  # as in Keras, the epoch is brought to its end
    assert model.fit(np.zeros((8, 1)), np.zeros((8, 1)), 2, 3, verbose=0).epoch == [0, 1, 2]  # and stays no longer


def test_every_pass_has_a_permutation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    train = Step.train

    def spy(self: Step, x: Any, y: Any) -> None:
        seen.append([int(value) for value in x[:, 0]])
        train(self, x, y)

    monkeypatch.setattr(Step, "train", spy)
    x = np.arange(6, dtype=np.float32)[:, None]
    _linear().fit(x, x, batch_size=4, epochs=2, verbose=0)
    first, second = seen[0] + seen[1], seen[2] + seen[3]
    assert [len(batch) for batch in seen] == [4, 2, 4, 2]
    assert sorted(first) == sorted(second) == list(range(6)) and first != second
    stream = np.random.Generator(np.random.Philox(key=[0, 2], counter=[0, 0, 0, 0]))  # anyone can draw it
    assert first == stream.permutation(6).tolist()


def test_the_device_is_read_only_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    results = Step.results
    monkeypatch.setattr(Step, "results", lambda self: reads.append(1) or results(self))
    x = np.zeros((20, 1), np.float32)
    _linear().fit(x, x, batch_size=1, verbose=0)
    assert len(reads) == 1  # the end of the epoch
    reads.clear()
    _linear().fit(x, x, batch_size=1, verbose=0, callbacks=LambdaCallback(on_train_batch_end=lambda batch, logs: None))
    assert len(reads) == 21


def test_matrix_products_run_on_one_thread_and_others_are_left_alone() -> None:
    """Two threads of OpenBLAS that wait for each other on busy cores make a step many times slower."""
    threads = []

    class Look(gpunet.Layer):
        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

        def forward(self, x: Any, training: bool) -> Any:
            threads.extend(_blas_threads())
            return x, lambda dy: dy

    before = _blas_threads()
    model = Sequential([Input((1,)), Look()])
    model.compile("sgd", "mse")
    x = _column(1)
    model.fit(x, x, validation_data=(x, x), verbose=0)
    model.predict(x, verbose=0)
    model.predict_on_batch(x)
    assert set(threads) <= {1} and _blas_threads() == before


def _blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


# Data


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16, np.bool_])
def test_inputs_are_cast(dtype: Any) -> None:
    x = np.array([[0], [1]], dtype)
    assert _linear().evaluate(x, x.astype(np.float32), verbose=0) == 0


def test_user_data_is_not_changed() -> None:
    x, y = _digits(20)
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    model = _small_cnn()
    model.fit(x, y, verbose=0, shuffle=False)
    model.predict(x, verbose=0)
    checks.assert_same_bits(x, kept[0])
    checks.assert_same_bits(y, kept[1])


def test_arrays_of_a_device_are_taken(device: Device) -> None:
    x, y = checks.on(device, _column(1, 2), _column(1, 2))
    assert _linear().fit(x, y, verbose=0).history["loss"] == [0.0]


def test_a_model_without_input_shape_is_built_by_its_first_data(device: Device) -> None:
    for first in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        model = Sequential([Dense(1)])
        model.compile("sgd", "mse")
        getattr(model, first)(_column(1), _column(1))
        assert model.output_shape == (None, 1)
    for first in ("predict", "predict_on_batch"):
        model = Sequential([Dense(1)])
        assert getattr(model, first)(_column(1)).shape == (1, 1)


def test_a_failing_fit_leaves_the_model_as_it_was() -> None:
    model = Sequential([Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="labels from 0 to 2; got 1 other label, such as 7"):
        model.fit(np.zeros((4, 2)), [0, 1, 2, 7], verbose=0)
    assert not model.built and model.weights == []
    with pytest.raises(ValueError, match="validation_data: x and y must have as many samples"):
        model.fit(np.zeros((4, 2)), [0, 1, 2, 2], validation_data=(np.zeros((4, 2)), [0]), verbose=0)
    assert not model.built and model.weights == []
    model.fit(np.zeros((4, 5)), [0, 1, 2, 2], verbose=0)  # so other data may build it
    before = _bits(model)
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        model.fit(np.zeros((4, 5)), [0, 1, 2, 3], verbose=0)
    assert _bits(model) == before and model.optimizer.iterations == 1


# Evaluation and prediction


def test_evaluate_returns_what_keras_does() -> None:
    x, y = _digits(10)
    model = _small_cnn()
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert model.metrics_names == ["loss", "accuracy"]
    assert isinstance(_linear().evaluate(_column(1), _column(1), verbose=0), float)


def test_predict_returns_the_kind_of_array_it_was_given(device: Device) -> None:
    x = _digits(10)[0]
    model = _small_cnn()
    y = model.predict(x, batch_size=4, verbose=0)
    assert type(y) is np.ndarray and y.shape == (10, 10)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    there = model.predict(checks.on(device, x), batch_size=4, verbose=0)
    assert device_of(there) == device
    checks.assert_same_bits(there, y)
    assert type(model.predict(x.tolist(), verbose=0)) is np.ndarray
    assert device_of(model.predict_on_batch(checks.on(device, x))) == device
    np.testing.assert_allclose(model.predict_on_batch(x), y, rtol=1e-5)


def test_on_batch_methods_return_loss_and_metrics(device: Device) -> None:
    x, y = _digits(10)
    model = _small_cnn()
    tested = model.test_on_batch(x, y)
    assert tested == pytest.approx(model.evaluate(x, y, verbose=0))
    assert model.test_on_batch(x, y, return_dict=True) == {"loss": tested[0], "accuracy": tested[1]}
    assert math.isfinite(model.train_on_batch(x, y, return_dict=True)["loss"])
    assert model.optimizer.iterations == 1
    assert isinstance(_linear().train_on_batch(_column(1), _column(1)), float)


def test_dropout_works_in_training_only() -> None:
    model = Sequential([Input((1000,)), Dropout(0.5)])
    model.compile("sgd", "mse")
    x = np.ones((1, 1000), np.float32)
    assert model.evaluate(x, x, verbose=0) == 0
    assert model.train_on_batch(x, x) == 1  # dropped: (0 - 1)^2, kept: (2 - 1)^2


# Ctrl-C


class _Interrupt(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_a_usable_model() -> None:
    ended = []
    model = _linear()
    x = np.zeros((8, 1), np.float32)
    callbacks = [_Interrupt(), LambdaCallback(on_train_end=lambda logs: ended.append(1))]
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, x, batch_size=2, epochs=3, callbacks=callbacks, verbose=0)
    assert ended == [1] and model.optimizer.iterations == 2
    assert model.history.epoch == []
    assert model.fit(x, x, verbose=0).epoch == [0]


def test_ctrl_c_waits_for_the_running_step(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = []
    train = Step.train

    def interrupted_train(self: Step, x: Any, y: Any) -> None:
        if not finished:
            signal.raise_signal(signal.SIGINT)
        train(self, x, y)
        finished.append(1)

    monkeypatch.setattr(Step, "train", interrupted_train)
    model = _linear()
    with pytest.raises(KeyboardInterrupt):
        model.fit(_column(1, 1), _column(1, 1), batch_size=1, verbose=0)
    assert finished == [1] and model.optimizer.iterations == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice_interrupted_train(self: Step, x: Any, y: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one waited")

    monkeypatch.setattr(Step, "train", twice_interrupted_train)
    with pytest.raises(KeyboardInterrupt):
        _linear().fit(_column(1), _column(1), verbose=0)


def test_a_handler_of_the_program_s_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        note = LambdaCallback(on_train_batch_end=lambda batch, logs: signal.raise_signal(signal.SIGINT))
        _linear().fit(_column(1), _column(1), callbacks=note, verbose=0)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert caught == [signal.SIGINT]


def test_an_unfinished_step_leaves_no_gradients_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(parameters: Any) -> None:
        raise KeyboardInterrupt

    model = _linear()
    with monkeypatch.context() as patch:
        patch.setattr(model.optimizer, "apply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(_column(1, 2), _column(3, 5), verbose=0)
    model.fit(_column(1, 2), _column(3, 5), verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], [[1 + 0.5 * 8]])  # as in test_one_step_of_gradient_descent
