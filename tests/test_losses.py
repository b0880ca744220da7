"""The losses as classes: Keras's arguments, reductions and shapes, gradients by closures, targets, names, bad input."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet import Input, Sequential, losses
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.layers import Softmax
from gpunet.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Loss,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

WIDE = np.float64
ALL: list[Loss] = [
    SparseCategoricalCrossentropy(),
    SparseCategoricalCrossentropy(from_logits=True),
    SparseCategoricalCrossentropy(from_logits=True, ignore_class=1, reduction="sum"),
    SparseCategoricalCrossentropy(ignore_class=2),
    CategoricalCrossentropy(label_smoothing=0.1),
    CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="sum"),
    BinaryCrossentropy(label_smoothing=0.1),
    BinaryCrossentropy(from_logits=True, reduction="mean"),
    MeanSquaredError(),
    MeanSquaredError(reduction="mean_with_sample_weight"),
]
SHAPES = [(5, 4), (3, 2, 6), (2, 3, 2, 5)]


def _case(loss: Loss, shape: tuple[int, ...]) -> tuple[HostArray, HostArray]:
    """Return targets and outputs, away from where probabilities are clipped."""
    rng = np.random.default_rng(0)
    y_pred = rng.standard_normal(shape) if getattr(loss, "from_logits", True) else 0.05 + 0.9 * rng.random(shape)
    y_true = rng.integers(0, shape[-1], shape[:-1]) if loss.sparse_targets else rng.random(shape)
    return y_true, y_pred


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", ALL, ids=lambda loss: f"{loss.name}-{loss.reduction}")
def test_gradients_against_differences(device: Device, loss: Loss, shape: tuple[int, ...]) -> None:
    y_true, y_pred = _case(loss, shape)
    targets = checks.on(device, loss.prepare_targets(y_true, shape, WIDE))
    value, backward = loss.forward(targets, checks.on(device, y_pred))
    dy = backward()
    assert value.shape == (1,) and dy.shape == shape and type(dy) is type(value)
    checks.assert_gradient(lambda y: checks.host(loss.forward(targets, checks.on(device, y))[0]), y_pred, dy)
    assert loss(y_true, y_pred) == pytest.approx(float(checks.host(value)[0]), rel=1e-12)


def _rows(array: HostArray) -> HostArray:
    return array.reshape(-1, array.shape[-1])


@pytest.mark.parametrize("shape", SHAPES)
def test_values(device: Device, shape: tuple[int, ...]) -> None:
    """The mean over all axes but the last, which the loss itself has taken."""
    for loss, formula in [
        (SparseCategoricalCrossentropy(), oracle.cross_entropy),
        (SparseCategoricalCrossentropy(from_logits=True), oracle.softmax_cross_entropy),
        (CategoricalCrossentropy(), oracle.cross_entropy),
        (CategoricalCrossentropy(from_logits=True), oracle.softmax_cross_entropy),
        (BinaryCrossentropy(), oracle.binary_cross_entropy),
        (BinaryCrossentropy(from_logits=True), oracle.binary_cross_entropy_logits),
        (MeanSquaredError(), oracle.squared_error),
    ]:
        y_true, y_pred = _case(loss, shape)
        t = oracle.one_hot(y_true.ravel(), shape[-1], WIDE) if loss.sparse_targets else _rows(y_true)
        samples = formula(_rows(y_pred), t)
        assert loss(y_true, checks.on(device, y_pred)) == pytest.approx(samples.mean(), rel=1e-12)
        total = type(loss).from_config(loss.get_config() | {"reduction": "sum"})
        assert total(y_true, checks.on(device, y_pred)) == pytest.approx(samples.sum(), rel=1e-12)
        for reduction in (None, "none"):
            each = type(loss).from_config(loss.get_config() | {"reduction": reduction})(
                y_true, checks.on(device, y_pred)
            )
            checks.assert_close_in_double(each, samples.reshape(shape[:-1]))


def test_ignored_positions_do_not_count(device: Device) -> None:
    y_pred = checks.on(device, checks.normal(2, 3, 4))
    y_true = np.array([[0, 255, 3], [255, 255, 1]])
    kept = checks.host(y_pred)[y_true != 255]
    plain = SparseCategoricalCrossentropy(from_logits=True)
    expected = plain(y_true[y_true != 255], kept)
    for reduction, value in [("mean", expected), ("mean_with_sample_weight", expected), ("sum", 3 * expected)]:
        loss = SparseCategoricalCrossentropy(from_logits=True, ignore_class=255, reduction=reduction)
        assert loss(y_true, y_pred) == pytest.approx(value, rel=1e-6)
        targets = checks.on(device, loss.prepare_targets(y_true, (2, 3, 4)))
        dy = checks.host(loss.forward(targets, y_pred)[1]())
        assert not dy[y_true == 255].any() and dy[y_true != 255].all()
    every = losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True, ignore_class=255)
    assert every.shape == (2, 3) and (checks.host(every) == 0).sum() == 3
    alone = SparseCategoricalCrossentropy(ignore_class=1)
    assert alone([1, 1], [[0.5, 0.5], [0.5, 0.5]]) == 0


def test_keras_examples() -> None:
    """The values in the documentation of Keras's losses."""
    y_pred = np.float32([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    one_hot = [[0, 1, 0], [0, 0, 1]]
    assert SparseCategoricalCrossentropy()([1, 2], y_pred) == pytest.approx(1.177, abs=5e-4)
    assert CategoricalCrossentropy()(one_hot, y_pred) == pytest.approx(1.177, abs=5e-4)
    assert CategoricalCrossentropy(reduction="sum")(one_hot, y_pred) == pytest.approx(2.354, abs=5e-4)
    each = losses.categorical_crossentropy(one_hot, y_pred)
    np.testing.assert_allclose(each, [0.0513, 2.303], atol=5e-4)
    logits = BinaryCrossentropy(from_logits=True, reduction=None)
    np.testing.assert_allclose(logits([[0, 1], [0, 0]], [[-18.6, 0.51], [2.94, -12.8]]), [0.235, 1.496], atol=5e-4)
    each = losses.binary_crossentropy([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    np.testing.assert_allclose(each, [0.916, 0.714], atol=5e-4)


@pytest.mark.parametrize(
    "true_shape, pred_shape, samples",
    [
        ((4,), (4, 1), (4,)),
        ((4, 1), (4,), (4,)),
        ((4,), (4,), ()),
        ((4, 3), (4, 3, 1), (4,)),
        ((4, 3, 1), (4, 3), (4,)),
        ((4, 3, 1), (4, 3, 1), (4, 3)),
    ],
)
@pytest.mark.parametrize("loss", [losses.mean_squared_error, losses.binary_crossentropy])
def test_a_last_axis_of_one_may_be_missing(
    loss: Any, true_shape: tuple[int, ...], pred_shape: tuple[int, ...], samples: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.random(true_shape), rng.random(pred_shape)
    each = loss(y_true, y_pred)
    assert each.shape == samples
    whole = loss(y_true.reshape(-1, 1), y_pred.reshape(-1, 1))
    assert each.mean() == pytest.approx(whole.mean())


def test_calls_return_the_kind_of_array_they_got(device: Device) -> None:
    y_pred = checks.on(device, np.float32([[0.25, 0.75]]))
    each = losses.sparse_categorical_crossentropy(checks.on(device, np.array([1])), y_pred)
    assert type(each) is type(y_pred) and each.dtype == np.float32
    value = SparseCategoricalCrossentropy()(checks.on(device, np.array([1])), y_pred)
    assert type(value) is float and value == pytest.approx(-np.log(0.75))
    assert losses.mean_squared_error([[0, 1]], [[2, 1]]).dtype == np.float32


def test_the_dtype_of_a_loss(device: Device) -> None:
    y_true, y_pred = np.float32([[1]]), np.float32([[1 + 2**-20]])
    assert losses.MeanSquaredError(reduction=None, dtype="float64")(y_true, y_pred).dtype == np.float64
    loss = MeanSquaredError(dtype="float32")
    assert loss.get_config()["dtype"] == "float32"
    with pytest.raises(
        TypeError, match="mean_squared_error: y_pred must be float32, the dtype of the loss; got float64"
    ):
        loss.forward(*checks.on(device, np.zeros((1, 1)), np.zeros((1, 1))))


def test_the_gradient_may_be_asked_for_once_per_forward_and_late(device: Device) -> None:
    """The value may be changed in place, as training does to add penalties, before the gradient is taken."""
    loss = CategoricalCrossentropy(from_logits=True)
    y_true, y_pred = checks.on(device, np.eye(3, dtype=np.float32), checks.normal(3, 3))
    value, backward = loss.forward(y_true, y_pred)
    value.fill(7)
    checks.assert_same_bits(backward(), loss.forward(y_true, y_pred)[1]())


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: f"{loss.name}-{loss.reduction}")
def test_nothing_is_read_back(device: Device, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == CPU:
        pytest.skip("the host reads its own memory")
    y_true, y_pred = _case(loss, (5, 4))
    targets, outputs = checks.on(device, loss.prepare_targets(y_true, (5, 4), WIDE), y_pred)

    def forbidden(array: Any) -> Any:
        raise AssertionError("read back")

    monkeypatch.setattr(type(outputs), "get", forbidden)
    _, backward = loss.forward(targets, outputs)
    backward()


def test_targets_are_prepared_for_the_kernels() -> None:
    sparse = SparseCategoricalCrossentropy(ignore_class=-1)
    for y in ([0, 2], [[0], [2]], np.uint8([0, 2]), np.float64([0, 2]), np.array([[0], [2]], np.int64)):
        prepared = sparse.prepare_targets(y, (None, 3))
        assert prepared.dtype == np.int32 and prepared.shape == (2,) and prepared.tolist() == [0, 2]
    assert sparse.prepare_targets([0, -1], (2, 3)).tolist() == [0, -1]
    assert sparse.prepare_targets([True, False], (2, 2)).tolist() == [1, 0]
    assert sparse.prepare_targets(np.zeros((2, 5, 5, 1), np.int64), (None, 5, 5, 3)).shape == (2, 5, 5)
    dense = MeanSquaredError()
    for y in ([[0, 1]], [[False, True]], np.int8([[0, 1]]), np.float64([[0, 1]]), np.float16([[0, 1]])):
        assert dense.prepare_targets(y, (None, 2)).dtype == np.float32
        assert dense.prepare_targets(y, (None, 2), WIDE).dtype == np.float64
    assert dense.prepare_targets([3, 4], (None, 1)).shape == (2, 1)
    y = np.float32([[1, 2]])
    assert dense.prepare_targets(y, (None, 2)) is y  # neither copied nor changed


SPARSE, DENSE, ERROR = SparseCategoricalCrossentropy(), CategoricalCrossentropy(), MeanSquaredError()
BAD_VALUES: list[tuple[Loss, Any, int, str]] = [
    (SPARSE, [0, 12, 3, -1, 12], 10, r"hold labels from 0 to 9; got 3 other labels, such as 12 at index \(1,\)"),
    (SPARSE, [[7]], 5, r"hold labels from 0 to 4; got 1 other label, such as 7 at index \(0,\)"),
    (ALL[3], [0, 3], 3, "hold labels from 0 to 2, or 2, which is ignored; got 1 other label"),
    (SPARSE, [0, 0.5], 3, r"hold whole numbers; got 0.5 at index \(1,\)"),
    (SPARSE, [0, np.nan], 3, r"be finite in float64; got nan at index \(1,\)"),
    (SPARSE, [], 3, r"have at least one element; got shape \(0,\)"),
    (SPARSE, [[0], [1, 2]], 3, "be an array; got "),
    (SPARSE, [0, 1, 2], 1, "hold labels from 0 to 0; got 2 other labels, such as 1"),
    (ERROR, [[1.0, np.inf]], 2, r"be finite in float32; got inf at index \(0, 1\)"),
    (ERROR, [[1e300, 0]], 2, r"be finite in float32; got inf at index \(0, 0\)"),
]
BAD_SHAPES: list[tuple[Loss, Any, tuple[int | None, ...], str]] = [
    (
        SPARSE,
        np.eye(3),
        (None, 3),
        r"\(N,\) or \(N, 1\) for outputs of \(N, 3\); got \(3, 3\); for one-hot targets use 'cat",
    ),
    (SPARSE, [0, 1, 2], (2, 3), r"\(2,\) or \(2, 1\) for outputs of \(2, 3\); got \(3,\)$"),
    (SPARSE, np.zeros((2, 4), int), (None, 4, 4, 3), r"\(N, 4, 4\) or \(N, 4, 4, 1\) for outputs of .*; got \(2, 4\)$"),
    (DENSE, [0, 1], (None, 3), r"\(N, 3\); got \(2,\); for integer labels use 'sparse_categorical_crossentropy'"),
    (ERROR, [[1.0, 2.0]], (None, 3), r"\(N, 3\); got \(1, 2\)$"),
    (ERROR, [1.0, 2.0], (3, 1), r"\(3, 1\); got \(2,\)$"),
]


@pytest.mark.parametrize("loss, y, classes, message", BAD_VALUES)
def test_bad_targets_are_refused(loss: Loss, y: Any, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"{loss.name}: y_true must {message}"):
        loss.prepare_targets(y, (None, classes))


@pytest.mark.parametrize("loss, y, shape, message", BAD_SHAPES)
def test_targets_of_a_wrong_shape_are_refused(loss: Loss, y: Any, shape: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"{loss.name}: y_true must have shape {message}"):
        loss.prepare_targets(y, shape)


@pytest.mark.parametrize("y, dtype", [(["cat"], "<U3"), ([1 + 1j], "complex128"), ([None], "object")])
@pytest.mark.parametrize("loss", [SPARSE, ERROR], ids=lambda loss: loss.name)
def test_targets_that_are_not_numbers_are_refused(loss: Loss, y: Any, dtype: str) -> None:
    with pytest.raises(TypeError, match=f"{loss.name}: y_true must hold real numbers; got an array of {dtype}"):
        loss.prepare_targets(y, (None, 1))


def test_one_class_is_warned_of() -> None:
    with pytest.warns(SyntaxWarning, match="categorical_crossentropy: outputs of one class"):
        CategoricalCrossentropy().prepare_targets([[1.0]], (None, 1))


def test_bad_arguments_are_refused(device: Device) -> None:
    with pytest.raises(
        ValueError, match=r"MeanSquaredError: reduction must be one of 'sum_over_batch_size', .*; got 'avg'"
    ):
        MeanSquaredError("avg")
    with pytest.raises(ValueError, match="CategoricalCrossentropy: label_smoothing must be from 0 to 1; got 2"):
        CategoricalCrossentropy(label_smoothing=2)
    axis = "binary_crossentropy: axis must be different axes from -2 to 1 for outputs of rank 2; got 2"
    with pytest.raises(ValueError, match=axis):
        BinaryCrossentropy(axis=2)([[1.0]], [[0.5]])
    with pytest.raises(TypeError, match="BinaryCrossentropy: from_logits must be True or False; got 'yes'"):
        BinaryCrossentropy("yes")
    with pytest.raises(ValueError, match=r"SparseCategoricalCrossentropy: ignore_class must be below 2\*\*31"):
        SparseCategoricalCrossentropy(ignore_class=2**31)
    with pytest.raises(TypeError, match=r"ignore_class must be an integer; got 1.5"):
        SparseCategoricalCrossentropy(ignore_class=1.5)
    with pytest.raises(TypeError, match="MeanSquaredError: dtype must be 'float32' or 'float64'; got 'float16'"):
        MeanSquaredError(dtype="float16")
    y = checks.on(device, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"mean_squared_error: reduction must be one of .* to train; got None"):
        MeanSquaredError(reduction=None).forward(y, y)
    with pytest.raises(
        ValueError, match=r"mean_squared_error: y_pred must have an axis and an element; got shape \(\)"
    ):
        MeanSquaredError()(1.0, 2.0)
    with pytest.raises(TypeError, match="mean_squared_error: y_pred must hold real numbers; got an array of complex64"):
        MeanSquaredError()([1.0], np.complex64([1]))
    if device != CPU:
        with pytest.raises(TypeError, match="all arrays must be on one device"):
            MeanSquaredError().forward(np.zeros((2, 2), np.float32), y)


def test_names() -> None:
    for name, expected in {
        "mse": MeanSquaredError,
        "MSE": MeanSquaredError,
        "mean_squared_error": MeanSquaredError,
        "MeanSquaredError": MeanSquaredError,
        "bce": BinaryCrossentropy,
        "BCE": BinaryCrossentropy,
        "binary_crossentropy": BinaryCrossentropy,
        "categorical_crossentropy": CategoricalCrossentropy,
        "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
        "SparseCategoricalCrossentropy": SparseCategoricalCrossentropy,
    }.items():
        assert type(losses.get(name)) is expected
        assert losses.get(name).name.replace("_", "") == expected.__name__.lower()
    assert type(losses.get(losses.mean_squared_error)) is MeanSquaredError
    assert type(losses.get(BinaryCrossentropy)) is BinaryCrossentropy
    assert losses.get(ALL[0]) is ALL[0]
    with pytest.raises(ValueError, match=r"compile: loss must be one of 'BCE', .*; got 'hinges'"):
        losses.get("hinges", "compile: loss")
    with pytest.raises(TypeError, match=r"a function has no gradient here: derive a class from gpunet.losses.Loss"):
        losses.get(lambda y_true, y_pred: 0)
    with pytest.raises(TypeError, match="identifier must be a name or a Loss; got None"):
        losses.get(None)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
def test_serialize_and_back(loss: Loss) -> None:
    copy = losses.deserialize(losses.serialize(loss))
    assert type(copy) is type(loss) and copy.get_config() == loss.get_config()


def test_with_logits_is_a_copy() -> None:
    loss = CategoricalCrossentropy(label_smoothing=0.1, name="mine")
    fused = loss.with_logits()
    assert fused.from_logits and not loss.from_logits
    assert fused.get_config() == loss.get_config() | {"from_logits": True}


def test_an_own_loss_is_a_subclass() -> None:
    class MeanCubedError(Loss):
        def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
            error = y_pred - y_true
            return (abs(error) ** 3).mean(axis=-1), lambda scale: 3 * error * abs(error) * scale / error.shape[-1]

    loss = losses.get(MeanCubedError)
    y_true, y_pred = checks.normal(4, 3, dtype=WIDE), checks.normal(4, 3, seed=1, dtype=WIDE)
    value, backward = loss.forward(y_true, y_pred)
    checks.assert_gradient(lambda y: loss.forward(y_true, y)[0], y_pred, backward())
    assert loss.name == "mean_cubed_error" and value.shape == (1,)
    assert loss([[0, 0]], [[1, 2]]) == 4.5


class _Weighted(SparseCategoricalCrossentropy):
    """Twice the loss."""

    def per_sample(self, y_true: Array, y_pred: Array) -> Any:
        losses, gradient = super().per_sample(y_true, y_pred)
        return losses + losses, lambda scale: gradient(scale + scale)


@pytest.mark.parametrize("from_logits", [True, False])
def test_a_loss_with_a_per_sample_of_its_own_is_not_left_out(device: Device, from_logits: bool) -> None:
    """Neither alone nor behind a softmax that the known loss would take for its own."""
    y, z = np.int32([0, 2, 1]), checks.normal(3, 4)
    p = z if from_logits else oracle.softmax(z)
    both = _Weighted(from_logits), SparseCategoricalCrossentropy(from_logits)
    results = [loss.forward(*checks.on(device, y, p)) for loss in both]
    (value, backward), (single, single_backward) = results
    np.testing.assert_allclose(checks.host(value), 2 * checks.host(single), rtol=1e-6)
    np.testing.assert_allclose(checks.host(backward()), 2 * checks.host(single_backward()), rtol=1e-5)
    model = Sequential([Input((4,)), Softmax()])
    evaluated = []
    for loss in (_Weighted(), SparseCategoricalCrossentropy()):
        model.compile("sgd", loss)
        evaluated.append(model.evaluate(z, y, verbose=0))
    assert evaluated[0] == pytest.approx(2 * evaluated[1], rel=1e-5)


class _Missing(SparseCategoricalCrossentropy):
    """1 - p[label], whatever `from_logits` says."""

    def per_sample(self, y_true: Array, y_pred: Array) -> Any:
        rows = np.arange(len(y_true))
        return 1 - y_pred[rows, y_true], lambda scale: y_pred * 0


def test_a_loss_of_probabilities_gets_probabilities() -> None:
    y, z = np.int32([0, 2, 1]), checks.normal(3, 4)
    model = Sequential([Input((4,)), Softmax()])
    model.compile("sgd", _Missing())
    expected = (1 - oracle.softmax(z)[np.arange(3), y]).mean()
    assert model.evaluate(z, y, verbose=0) == pytest.approx(expected, rel=1e-5)
