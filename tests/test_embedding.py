"""Rows of a table by index: embedding.cu, the gradient of the table, and the layer."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from layer_checks import assert_config_comes_back

from gpunet.backend.arrays import CPU, Device
from gpunet.layers import Embedding
from gpunet.ops.embedding import embedding, embedding_gradient


@pytest.mark.parametrize("rows, width, shape", [(1, 1, (1,)), (7, 3, (5, 4)), (300, 5, (2, 3, 67))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_and_their_gradient(device: Device, rows: int, width: int, shape: tuple[int, ...], dtype: Any) -> None:
    indices = np.random.default_rng(0).integers(0, rows, shape)
    table, dy = checks.normal(rows, width, dtype=dtype), checks.normal(*shape, width, seed=1, dtype=dtype)
    x = (indices + 0.75).astype(dtype)  # fractions are cut off
    checks.assert_same_bits(embedding(*checks.on(device, x, table)), table[indices])
    dtable = checks.on(device, np.full((rows, width), np.nan, dtype))
    embedding_gradient(*checks.on(device, dy, x), dtable)
    expected = oracle.scatter_add(np.zeros((rows, width), dtype), indices.ravel(), dy.reshape(-1, width))
    checks.assert_same_bits(dtable, expected)


WRONG = np.float32([3, -1, np.nan, np.inf, -np.inf, 1e30, -0.5])  # the last one is 0


def test_an_index_out_of_range_is_an_error_or_shows(device: Device) -> None:
    table, dy = checks.normal(3, 2), np.ones((7, 2), np.float32)
    x = checks.on(device, WRONG)
    if device == CPU:
        with pytest.raises(ValueError, match=r"embedding: indices must be from 0 to 2; got 3 at \(0,\)"):
            embedding(x, table)
        return
    y = checks.host(embedding(x, checks.on(device, table)))
    assert np.isnan(y[:-1]).all() and np.array_equal(y[-1], table[0])
    dtable = checks.on(device, np.zeros((3, 2), np.float32))
    embedding_gradient(checks.on(device, dy), x, dtable)
    assert checks.host(dtable).tolist() == [[1, 1], [0, 0], [0, 0]]


def test_the_largest_index_of_float32_is_told_apart(device: Device) -> None:
    table = checks.on(device, np.zeros((2**24, 1), np.float32))
    if device == CPU:
        table[-2:] = [[5], [7]]
        assert embedding(np.float32([2**24 - 1, 2**24 - 2]), table).ravel().tolist() == [7, 5]
        return
    y = checks.host(embedding(checks.on(device, np.float32([2**24 - 1, 2**24])), table))
    assert y[0, 0] == 0 and np.isnan(y[1, 0])


def test_the_layer(device: Device) -> None:
    """One table for two uses: gradients add up."""
    layer = Embedding(5, 3, "ones", "l2", "max_norm", dtype="float64")
    assert layer.compute_output_shape((None, 4)) == (None, 4, 3)
    x = np.float64([[1, 4, 1], [0, 1, 3]])
    assert layer(x).shape == (2, 3, 3)
    table = checks.normal(5, 3, dtype=np.float64)
    layer.set_weights([table])
    np.testing.assert_array_equal(layer(x.astype(int)), table[x.astype(int)])
    dy = checks.normal(2, 3, 3, seed=1, dtype=np.float64)
    expected = oracle.scatter_add(np.zeros((5, 3)), x.astype(int).ravel(), dy.reshape(-1, 3))
    for times in (1, 2):
        _, backward = layer.apply(checks.on(device, x), True)
        dx = backward(checks.on(device, dy))
        assert dx is not None and not checks.host(dx).any() and dx.shape == x.shape
        np.testing.assert_allclose(checks.host(layer.embeddings.gradient), times * expected, rtol=1e-15)
    assert layer.embeddings.regularizer is not None and layer.embeddings.constraint is not None
    assert_config_comes_back(layer)


def test_frozen_embeddings_get_no_gradient(device: Device) -> None:
    layer = Embedding(5, 3, trainable=False)
    layer.prepare_gradients(needs_input_gradient=False)
    layer.build((None, 2))
    y, backward = layer.apply(checks.on(device, np.float32([[1, 2]])), True)
    with checks.recorded_launches() as launches:
        assert backward(y) is None and layer.embeddings.gradient is None
    assert not launches


@pytest.mark.parametrize("wrap", [lambda table: table, lambda table: [table], lambda table: table.tolist()])
def test_first_weights(device: Device, wrap: Any) -> None:
    table = checks.normal(4, 2)
    layer = Embedding(4, 2, weights=wrap(table))
    np.testing.assert_array_equal(layer(np.array([3, 0])), table[[3, 0]])


def test_the_length_of_inputs_is_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="Embedding 'embedding.*': input_length is ignored"):
        Embedding(4, 2, input_length=10)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Embedding(0, 2), ValueError, "Embedding 'embedding.*': input_dim must be at least 1; got 0"),
        (lambda: Embedding(2**24 + 1, 2), ValueError, "input_dim must be at most 16777216; got 16777217"),
        (lambda: Embedding(4, 1.5), TypeError, "output_dim must be an integer"),
        (lambda: Embedding(4, 2, mask_zero=True), ValueError, "mask_zero must be False, because layers take no masks"),
        (lambda: Embedding(4, 2, lora_rank=2), ValueError, "lora_rank must be None; got 2"),
        (
            lambda: Embedding(4, 2, weights=np.ones((2, 4))),
            ValueError,
            r"weights must have shape \(4, 2\); got \(2, 4\)",
        ),
        (lambda: Embedding(4, 2)(np.array([1, 4])), ValueError, r"indices must be from 0 to 3; got 4 at \(1,\)"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_double_counts_further() -> None:
    assert Embedding(2**24 + 1, 1, dtype="float64").input_dim == 2**24 + 1
