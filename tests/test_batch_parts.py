"""Batches in parts (training/batch_parts.py): gradient, loss and metrics are those of whole batches, in less memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import checks
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import column, digits, linear, small_cnn

from gpunet import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential, losses, optimizers
from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.backend.random import set_random_seed
from gpunet.regularizers import L2, Regularizer
from gpunet.training.batch_parts import rows_of_parts

RNG = np.random.default_rng(0)
X = RNG.random((23, 8, 8, 1), np.float32)
LABELS = RNG.integers(0, 3, 23)
REAL = RNG.random((23, 3), np.float32)


class _Own(Regularizer):
    """r(w) = sum of w^4 / 4, which no kernel knows."""

    def value(self, w: Any) -> Any:
        return (w**4).sum(keepdims=True).reshape(-1)[:1] / 4

    def add_gradient(self, w: Any, dw: Any) -> None:
        dw += w**3


@given(st.integers(1, 50), st.integers(1, 60))
def test_parts_cover_the_batch_evenly(n: int, parts: int) -> None:
    rows = rows_of_parts(n, parts)
    assert [i for span in rows for i in range(n)[span]] == list(range(n))
    sizes = [span.stop - span.start for span in rows]
    assert len(sizes) == min(n, parts) and sorted(sizes, reverse=True) == sizes and max(sizes) - min(sizes) <= 1


@pytest.fixture(autouse=True)
def _fast(request: pytest.FixtureRequest) -> Iterator[None]:
    """The ops' own tests look at every access."""
    if "device" in request.fixturenames:
        request.getfixturevalue("device")
    with emulator.configured(checked=False):
        yield


def _model(dtype: str, loss: Any, parts: int, **kwargs: Any) -> Sequential:
    set_random_seed(1)
    model = Sequential(
        [
            Input((8, 8, 1), dtype=dtype),
            Conv2D(4, 3, activation="relu", kernel_regularizer=L2(0.1), dtype=dtype),
            MaxPooling2D(2, dtype=dtype),
            Flatten(dtype=dtype),
            Dense(5, activation="tanh", activity_regularizer="l2", bias_regularizer=_Own(), dtype=dtype),
            Dense(3, activation="softmax", dtype=dtype),
        ]
    )
    model.compile(optimizers.SGD(0.5, momentum=0.5), loss, ["accuracy"], batch_parts=parts, **kwargs)
    return model


LOSSES: dict[str, Any] = {
    "sparse": lambda: losses.SparseCategoricalCrossentropy(),
    "sparse, some ignored": lambda: losses.SparseCategoricalCrossentropy(ignore_class=0),
    "sparse, summed": lambda: losses.SparseCategoricalCrossentropy(reduction="sum"),
    "sparse, some ignored, summed": lambda: losses.SparseCategoricalCrossentropy(ignore_class=0, reduction="sum"),
    "squares": lambda: losses.MeanSquaredError(),
    "squares, summed": lambda: losses.MeanSquaredError(reduction="sum"),
}


def _trained(dtype: str, name: str, parts: int, **kwargs: Any) -> tuple[list[HostArray], list[float]]:
    """Return weights and losses and accuracies of two epochs of batches of 9, 9 and 5."""
    model = _model(dtype, LOSSES[name](), parts, **kwargs)
    y = LABELS if "sparse" in name else REAL
    history = model.fit(X.astype(dtype), y, batch_size=9, epochs=2, verbose=0).history
    values = [*history["loss"], *history["accuracy"], *model.evaluate(X.astype(dtype), y, batch_size=9, verbose=0)]
    return model.get_weights(), values


@pytest.mark.parametrize("name", LOSSES)
def test_weights_and_loss_are_those_of_whole_batches(device: Device, name: str) -> None:
    """In double precision all the way; 4 parts of 9 samples are 3, 2, 2, 2, of 5 they are 2, 1, 1, 1."""
    whole, values = _trained("float64", name, 1)
    for parts in (4, 100):
        divided, divided_values = _trained("float64", name, parts)
        for one, other in zip(divided, whole, strict=True):
            checks.assert_close_in_double(one, other, tolerance=1e-10)
        np.testing.assert_allclose(divided_values, values, rtol=1e-10)


def test_rounding_is_that_of_whole_batches(device: Device) -> None:
    """Against double precision, in single: not more than twice the error of whole batches."""
    exact, _ = _trained("float64", "sparse", 1)
    plain, _ = _trained("float32", "sparse", 1)
    divided, _ = _trained("float32", "sparse", 4)
    flat = [np.concatenate([w.reshape(-1) for w in weights]) for weights in (divided, exact, plain)]
    checks.assert_as_exact_as_plain(*flat)
    assert (flat[0] != flat[2]).any(), "sums over parts are added in another order"


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_penalty_counts_once(device: Device, parts: int) -> None:
    """w = 1 and L2(0.25): loss (1 - 0)^2 + 0.25, dw = 2 + 0.5 for inputs of 1 and targets of 0."""
    model = linear(kernel_regularizer=L2(0.25))
    model.compile(optimizers.SGD(0.5), "mse", batch_parts=parts)
    assert model.train_on_batch(column(1, 1, 1), column(0, 0, 0)) == pytest.approx(1.25)
    assert model.get_weights()[0].item() == pytest.approx(1 - 0.5 * 2.5)


def test_captured_steps_have_the_bits_of_plain_ones(device: Device) -> None:
    if device == CPU:
        pytest.skip("the CPU captures nothing")
    captured, values = _trained("float32", "sparse", 4)
    plain, plain_values = _trained("float32", "sparse", 4, run_eagerly=True)
    for one, other in zip(captured, plain, strict=True):
        checks.assert_same_bits(one, other)
    assert values == plain_values


def test_each_part_draws_a_mask_of_its_own(device: Device) -> None:
    """Where every element is kept or dropped with one draw, the mask of a part is that of a batch of its size."""
    dropout = Dropout(0.5, seed=3)
    model = Sequential([Input((40,)), dropout, Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizers.SGD(0.0), losses.MeanAbsoluteError() if hasattr(losses, "MeanAbsoluteError") else "mse")
    model.compile(optimizers.SGD(0.0), "mse", batch_parts=3)
    model.train_on_batch(np.ones((8, 40), np.float32), np.zeros((8, 1), np.float32))
    assert dropout.stream.step == 3
    model.train_on_batch(np.ones((2, 40), np.float32), np.zeros((2, 1), np.float32))
    assert dropout.stream.step == 5


def test_parts_are_kept_with_the_model(tmp_path: Any) -> None:
    from gpunet import load_model

    model = small_cnn()
    assert "batch_parts" not in model.get_compile_config()
    model.compile("adam", "sparse_categorical_crossentropy", batch_parts=3)
    model.fit(*digits(16), batch_size=8, verbose=0)
    model.save(tmp_path / "model.gpunet")
    assert load_model(tmp_path / "model.gpunet").batch_parts == 3


@pytest.mark.parametrize("parts", [0, -1, 1.5, "2", True])
def test_parts_are_a_positive_number(parts: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"small|Sequential 'sequential.*batch_parts must"):
        small_cnn().compile("adam", "mse", batch_parts=parts)
