"""compile and fit: learning, freezing, validation, epochs."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from small_models import bits, column, digits, linear, small_cnn
from threadpoolctl import threadpool_info

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend import emulator
from gpunet.backend.arrays import Device
from gpunet.callbacks import Callback, LambdaCallback
from gpunet.training.feeding import Batch, ready
from gpunet.training.step import Step

# Learning


def test_fit_learns(device: Device) -> None:
    x, y = digits(400)
    model = small_cnn()
    history = model.fit(x, y, epochs=8, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert history.history["accuracy"][-1] > 0.8
    assert model.evaluate(x, y, verbose=0)[1] > 0.85


def test_two_runs_have_the_same_bits(device: Device) -> None:
    x, y = digits(40)
    runs = []
    for order in ("forward", 7):
        gpunet.set_random_seed(3)
        model = small_cnn()
        with emulator.configured(order=order):  # of the threads of a block; only `emulated` has one
            history = model.fit(x, y, batch_size=16, epochs=2, verbose=0)
        runs.append((bits(model), history.history))
    assert runs[0] == runs[1]


def test_the_seed_decides(device: Device) -> None:
    x, y = digits(40)
    losses = []
    for seed in (1, 2):
        gpunet.set_random_seed(seed)
        losses.append(small_cnn().fit(x, y, verbose=0).history["loss"])
    assert losses[0] != losses[1]


def test_one_step_of_gradient_descent(device: Device) -> None:
    model = linear()
    x, y = column(1, 2), column(3, 5)
    # loss = mean (w x - y)^2, its gradient at w = 1: mean 2 x (w x - y) = (2 * -2 + 4 * -3) / 2 = -8
    assert model.train_on_batch(x, y) == pytest.approx((4 + 9) / 2)
    np.testing.assert_allclose(model.get_weights()[0], [[1 + 0.5 * 8]])


def test_the_smaller_last_batch_is_trained_and_weighed(device: Device) -> None:
    model = linear()
    model.optimizer.learning_rate = 0.0
    x, y = column(0, 0, 0, 0, 0), column(1, 1, 1, 1, 6)
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert history.history["loss"] == [pytest.approx((4 * 1 + 36) / 5)]
    assert model.optimizer.iterations == 2
    assert model.evaluate(x, y, batch_size=2, verbose=0) == pytest.approx((4 * 1 + 36) / 5)


def test_the_loss_has_the_regularizers_in_it(device: Device) -> None:
    model = linear(kernel_regularizer=gpunet.regularizers.L2(0.1), activity_regularizer=gpunet.regularizers.L1(0.25))
    x, y = column(1, 3), column(1, 3)  # fitted exactly by w = 1: what remains are the regularizers
    expected = 0.1 * 1**2 + 0.25 * (1 + 3) / 2
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected)
    assert model.train_on_batch(x, y) == pytest.approx(expected)
    # dw = 2 * 0.1 * w + 0.25 * mean of x
    np.testing.assert_allclose(model.get_weights()[0], [[1 - 0.5 * (0.2 + 0.25 * 2)]], rtol=1e-6)


def test_a_frozen_parameter_is_not_regularized(device: Device) -> None:
    model = linear(kernel_regularizer="l2")
    model.layers[0].trainable = False
    assert model.evaluate(column(1), column(1), verbose=0) == 0  # as in Keras


def test_softmax_and_cross_entropy_stay_finite_for_extreme_outputs(device: Device) -> None:
    model = Sequential([Input((1,)), Dense(2, activation="softmax", kernel_initializer="ones")])
    model.layers[0].set_weights([np.float32([[1e4, -1e4]]), np.zeros(2, np.float32)])
    model.compile(gpunet.optimizers.SGD(0.25), "sparse_categorical_crossentropy", ["accuracy"])
    loss, accuracy = model.train_on_batch(column(1), np.array([1]))
    assert (loss, accuracy) == (2e4, 0)  # exactly: a clipped probability would give 16.1
    np.testing.assert_allclose(model.layers[0].get_weights()[1], [-0.25, 0.25])


def test_metrics_that_need_probabilities_get_them(device: Device) -> None:
    model = Sequential([Input((1,)), Dense(2, activation="softmax", kernel_initializer="zeros")])
    model.layers[0].set_weights([np.zeros((1, 2), np.float32), np.float32([1.2, 0.4])])  # probabilities 0.69 and 0.31
    metrics = [gpunet.metrics.BinaryAccuracy(threshold=0.5), "categorical_accuracy"]
    model.compile("sgd", "categorical_crossentropy", metrics)
    results = model.test_on_batch(column(1), np.float32([[1, 0]]), return_dict=True)
    assert results["binary_accuracy"] == 1  # from logits, 0.4 and 1.2, it would be 0.5 at a threshold of 0.5
    model.layers[0].set_weights([np.zeros((1, 2), np.float32), np.float32([3.2, 2.4])])
    results = model.test_on_batch(column(1), np.float32([[1, 0]]), return_dict=True)
    assert results["binary_accuracy"] == 1 and results["categorical_accuracy"] == 1


def test_bad_reductions_and_names_are_refused_by_compile() -> None:
    model = Sequential([Input((1,)), Dense(1)])
    with pytest.raises(
        ValueError, match=r"Sequential 'sequential.*'\.compile: optimizer.*'adam', .*'sgd'; got 'rprop'"
    ):
        model.compile("rprop", "mse")
    with pytest.raises(ValueError, match=r"compile: loss.*'mse'.*got 'hang'"):
        model.compile("sgd", "hang")
    with pytest.raises(ValueError, match=r"compile: metrics.*got 'mood'"):
        model.compile("sgd", "mse", metrics=["mood"])
    with pytest.raises(ValueError, match=r"compile: metrics must have other names than 'loss'"):
        model.compile("sgd", "mse", metrics=[gpunet.metrics.Mean("loss")])
    with pytest.raises(ValueError, match=r"compile: loss must reduce to one number"):
        model.compile("sgd", gpunet.losses.MeanSquaredError(reduction=None))
    with pytest.raises(ValueError, match=r"compile: loss_weights must be a list of 1 numbers.*got a list of 2"):
        model.compile("sgd", "mse", loss_weights=[1, 2])
    assert not model.compiled


def test_compile_takes_rmsprop_if_no_optimizer_is_named() -> None:
    model = Sequential([Input((1,)), Dense(1)])
    model.compile(loss="mse", run_eagerly=True, jit_compile=False)
    assert isinstance(model.optimizer, gpunet.optimizers.RMSprop)
    assert model.metrics_names == ["loss"]


# Freezing


def test_a_frozen_layer_keeps_its_bits_and_computes_no_gradient(device: Device, monkeypatch: Any) -> None:
    x, y = digits(32)
    model = small_cnn()
    model.layers[0].trainable = False
    frozen, trained = model.layers[0].get_weights(), model.layers[-1].get_weights()
    monkeypatch.setattr(gpunet.layers.convolution, "convolution_kernel_gradient", None)
    monkeypatch.setattr(gpunet.layers.convolution, "convolution_input_gradient", None)
    monkeypatch.setattr(gpunet.layers.convolution, "convolution_gradients", None)
    model.fit(x, y, verbose=0)
    for before, after in zip(frozen, model.layers[0].get_weights(), strict=True):
        checks.assert_same_bits(after, before)
    assert not np.array_equal(trained[0], model.layers[-1].get_weights()[0])


def test_a_model_without_anything_to_train_reports_its_loss(device: Device) -> None:
    model = linear()
    model.trainable = False
    history = model.fit(column(1, 2), column(2, 4), verbose=0)
    assert history.history["loss"] == [pytest.approx((1 + 4) / 2)]
    assert model.get_weights()[0] == 1
    assert model.optimizer.iterations == 0

    without_weights = Sequential([Input((1,)), gpunet.ReLU()])
    without_weights.compile("sgd", "mse")
    assert without_weights.fit(column(-1), column(2), verbose=0).history["loss"] == [4.0]


def test_a_layer_can_be_unfrozen_later(device: Device) -> None:
    model = linear()
    model.layers[0].trainable = False
    model.fit(column(1), column(2), verbose=0)
    model.layers[0].trainable = True
    model.fit(column(1), column(2), verbose=0)
    assert model.get_weights()[0] == pytest.approx(2)


# Validation


def test_validation_split_takes_the_last_samples() -> None:
    model = linear()
    model.optimizer.learning_rate = 0.0
    x, y = np.zeros((10, 1), np.float32), np.arange(10, dtype=np.float32)[:, None]
    history = model.fit(x, y, validation_split=0.25, verbose=0).history  # 7 to train, as in Keras: floor(10 * 0.75)
    assert history["loss"] == [pytest.approx(np.mean(np.arange(7.0) ** 2))]
    assert history["val_loss"] == [pytest.approx(np.mean(np.array([7.0, 8.0, 9.0]) ** 2))]


def test_validation_data_stands_above_validation_split() -> None:
    model = linear()
    model.optimizer.learning_rate = 0.0
    data = column(0), column(5)
    history = model.fit(column(0, 0), column(1, 1), validation_split=0.5, validation_data=data, verbose=0).history
    assert (history["loss"], history["val_loss"]) == ([1.0], [25.0])


@pytest.mark.parametrize(("frequency", "epochs"), [(1, [0, 1, 2, 3]), (2, [1, 3]), ([1, 4], [0, 3])])
def test_validation_frequency(frequency: Any, epochs: list[int]) -> None:
    seen = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch) if "val_loss" in logs else None)
    x = column(0, 0)
    linear().fit(x, x, epochs=4, validation_split=0.5, validation_freq=frequency, callbacks=[note], verbose=0)
    assert seen == epochs


def test_validation_does_not_disturb_training() -> None:
    x, y = digits(40)
    plain, validated = [], []
    for weights, arguments in ((plain, {}), (validated, {"validation_data": (x[:5], y[:5])})):
        gpunet.set_random_seed(1)
        model = small_cnn()
        model.fit(x, y, epochs=2, verbose=0, **arguments)
        weights += bits(model)
    assert plain == validated


# Epochs, steps, batches


def test_steps_per_epoch_goes_on_where_the_epoch_before_stopped() -> None:
    model = linear()
    model.optimizer.learning_rate = 0.0
    x, y = np.zeros((6, 1), np.float32), np.sqrt(np.arange(6, dtype=np.float32))[:, None]
    losses = model.fit(x, y, 1, 3, shuffle=False, steps_per_epoch=2, verbose=0).history["loss"]
    assert losses == pytest.approx([0.5, 2.5, 4.5])


def test_initial_epoch() -> None:
    history = linear().fit(column(1), column(1), epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


def test_stop_training_ends_after_the_running_batch() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    model = linear()
    history = model.fit(np.zeros((8, 1)), np.zeros((8, 1)), 2, 3, callbacks=Stop(), validation_split=0.5, verbose=0)
    assert model.optimizer.iterations == 2
    assert history.epoch == [0] and "val_loss" in history.history  # as in Keras, the epoch is brought to its end
    assert model.fit(np.zeros((8, 1)), np.zeros((8, 1)), 2, 3, verbose=0).epoch == [0, 1, 2]  # and stays no longer


def test_every_pass_has_a_permutation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    train = Step.train

    def spy(self: Step, batch: Batch) -> None:
        x, y = batch.take()
        seen.append([int(value) for value in x[:, 0]])
        train(self, ready((x, y)))

    monkeypatch.setattr(Step, "train", spy)
    x = np.arange(6, dtype=np.float32)[:, None]
    linear().fit(x, x, batch_size=4, epochs=2, verbose=0)
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
    linear().fit(x, x, batch_size=1, verbose=0)
    assert len(reads) == 1  # the end of the epoch
    reads.clear()
    linear().fit(x, x, batch_size=1, verbose=0, callbacks=LambdaCallback(on_train_batch_end=lambda batch, logs: None))
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
    x = column(1)
    model.fit(x, x, validation_data=(x, x), verbose=0)
    model.predict(x, verbose=0)
    model.predict_on_batch(x)
    assert set(threads) <= {1} and _blas_threads() == before


def _blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
