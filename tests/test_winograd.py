"""Convolution by Winograd's products (kernels/winograd.cu, winograd_products.cu): as the oracle, within its own bound.

Intermediate sums are larger than the results: for random images and filters, with transforms of norms B (2, 2, 2, 2),
G (1, 3/4, 3/4, 1) and A (3 of 4 places each), the squares of a result's parts add up to C 4 (1 + 3/4 + 3/4)^2 = 25 C,
where the window's own are 9 C. So roundings of the same relative size weigh sqrt(25 / 9) = 1.7 times as much, and there
are more of them. Measured beside the exact kernels, for 64 to 512 channels, images of several kinds, on cpu and
emulated, the largest error was up to 3.1 times as large. The tests allow twice what they allow exact results: 4 times
the error of the plain version. `test_a_bound_for_each_element` has one that needs no measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import checks
import numpy as np
import oracle
import pytest

import gpunet
from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Array, Device, Kind, empty_like
from gpunet.backend.random import set_random_seed
from gpunet.networks import fusion
from gpunet.ops import im2col, tiles, winograd
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_pooling import LONGEST_SUM, convolution_pooling
from gpunet.ops.convolution_sizes import Geometry, sizes_of
from gpunet.ops.dropout import dropout, dropout_gradient
from gpunet.ops.dropping import Dropping

RELU, LINEAR, GELU = Activation.RELU, Activation.LINEAR, Activation.GELU
SAME = ((1, 1), (1, 1))
TIMES = 4  # the error of the plain version
FILES = {"winograd.cu", "winograd_products.cu"}

# Shape of x, filters, padding.
CASES: dict[str, tuple[tuple[int, int, int, int], int, Any]] = {
    "one tile": ((1, 2, 2, 4), 4, SAME),
    "no padding": ((2, 6, 7, 8), 4, ((0, 0), (0, 0))),
    "odd sizes": ((2, 7, 3, 4), 12, SAME),
    "padding of 2": ((2, 2, 3, 8), 8, ((2, 2), (2, 2))),
    "asymmetric padding": ((1, 5, 4, 4), 8, ((0, 2), (1, 0))),
    "several tiles of a product": ((3, 9, 8, 36), 40, ((1, 0), (0, 1))),
}


@pytest.fixture
def any_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few channels and filters are enough."""
    monkeypatch.setattr(winograd, "_FEWEST_CHANNELS", dict.fromkeys(Kind, 1))


@pytest.fixture(autouse=True)
def _exact_again() -> Iterator[None]:
    yield
    gpunet.set_convolution("exact")


def _arrays(shape: tuple[int, ...], filters: int, pads: Any, dtype: type = np.float32) -> Any:
    """Return x, w, b, dy."""
    shapes = shape, (3, 3, shape[3], filters), (filters,)
    x, w, b = (checks.normal(*s, seed=i, dtype=dtype) for i, s in enumerate(shapes))
    return x, w, b, checks.normal(*sizes_of("test", shape, w.shape, Geometry(pads=pads)).y, seed=3, dtype=dtype)


def _run(device: Device, arrays: Any, pads: Any, activation: Activation = RELU) -> tuple[Array, Array]:
    """Return y and dx by Winograd's products, whose launches nothing else is among."""
    x, w, b, dy = checks.on(device, *arrays)
    geometry = Geometry(pads=pads)
    with gpunet.convolution("winograd"), checks.recorded_launches() as launches:
        y, saved = convolution(x, w, b, activation, geometry)
        dx = convolution_input_gradient(dy, saved, w, activation, geometry, x.shape)
    assert device == CPU or {launch.file for launch in launches} == FILES
    for array, before in zip((x, w, b, dy), arrays, strict=True):
        if before is not None:
            checks.assert_same_bits(array, before)
    return y, dx


def _expected(arrays: Any, pads: Any, activation: Activation, dtype: type = np.float64) -> tuple[Any, Any]:
    x, w, b, dy = (None if array is None else array.astype(dtype) for array in arrays)
    z = oracle.convolution_z(x, w, b, pads=pads)
    dz = dy * oracle.activation_derivative(activation.value, z)
    return oracle.activation(activation.value, z), oracle.convolution_gradients(x, w, dz, pads=pads)[0]


def _check(device: Device, arrays: Any, pads: Any, activation: Activation = RELU) -> None:
    results = _run(device, arrays, pads, activation)
    exact, plain = (_expected(arrays, pads, activation, dtype) for dtype in (np.float64, np.float32))
    for result, of_oracle, of_plain in zip(results, exact, plain, strict=True):
        checks.assert_as_exact_as_plain(result, of_oracle, of_plain, TIMES)


@pytest.mark.usefixtures("any_channels")
@pytest.mark.parametrize("case", CASES)
def test_cases(device: Device, case: str) -> None:
    _check(device, _arrays(*CASES[case]), CASES[case][2])


@pytest.mark.usefixtures("any_channels")
@pytest.mark.parametrize("case", CASES)
def test_cases_in_double(device: Device, case: str) -> None:
    arrays, pads = _arrays(*CASES[case], dtype=np.float64), CASES[case][2]
    for result, exact in zip(_run(device, arrays, pads), _expected(arrays, pads, RELU), strict=True):
        checks.assert_close_in_double(result, exact)


@pytest.mark.usefixtures("any_channels")
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_every_padding(device: Device, before: int, after: int) -> None:
    pads = (before, after), (after, before)
    _check(device, _arrays((2, 4, 5, 4), 4, pads), pads)


@pytest.mark.usefixtures("any_channels")
@pytest.mark.parametrize("activation", [LINEAR, GELU])
def test_activations(device: Device, activation: Activation) -> None:
    _check(device, _arrays(*CASES["odd sizes"]), SAME, activation)


@pytest.mark.usefixtures("any_channels")
def test_without_bias(device: Device) -> None:
    x, w, _, dy = _arrays(*CASES["odd sizes"])
    _check(device, (x, w, None, dy), SAME)


@pytest.mark.parametrize("channels", [128, 512])
def test_many_channels(device: Device, channels: int) -> None:
    x, w, b, dy = _arrays((1, 4, 4, channels), 128, SAME)
    _check(device, (x, w / np.float32(3 * channels**0.5), b, dy), SAME)


def _magnitudes(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return what a result's parts add up to without their signs, one padding on each side of even images."""
    g = np.abs([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    bt = np.abs([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    at = np.abs([[1, 1, 1, 0], [0, 1, -1, -1]])
    u = np.einsum("ir,rscf,js->ijcf", g, np.abs(w), g)
    padded, z = np.pad(np.abs(x), ((0, 0), (1, 1), (1, 1), (0, 0))), np.zeros((*x.shape[:3], w.shape[3]))
    for p, q in np.ndindex(x.shape[1] // 2, x.shape[2] // 2):
        d = padded[:, 2 * p : 2 * p + 4, 2 * q : 2 * q + 4]
        v = np.einsum("ik,nklc,jl->nijc", bt, d, bt)
        z[:, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2] = np.einsum("hi,nijc,ijcf,wj->nhwf", at, v, u, at, optimize=True)
    return z


@pytest.mark.parametrize("mean", [0, 100])
def test_a_bound_for_each_element(device: Device, mean: int) -> None:
    """Two additions a pass of a transform, two passes each, and C products: (C + 12) roundings of what adds up.

    Images far from 0 under filters whose taps add up to 0 have small results of large sums.
    """
    x, w, _, dy = _arrays((1, 4, 4, 128), 128, SAME)
    x, w = x + np.float32(mean), w - w.mean(axis=(0, 1))
    y, _ = _run(device, (x, w, None, dy), SAME, LINEAR)
    x, w = x.astype(np.float64), w.astype(np.float64)
    error = np.abs(checks.host(y) - oracle.convolution_z(x, w, None, pads=SAME))
    assert (error <= (128 + 12) * 2.0**-24 * _magnitudes(x, w)).all()


@pytest.mark.usefixtures("any_channels")
def test_the_gradient_of_the_filters_is_the_exact_one(device: Device) -> None:
    """And both gradients at once are those of one after the other."""
    geometry = Geometry(pads=SAME)
    x, w, b, dy = checks.on(device, *_arrays(*CASES["odd sizes"]))
    y, _ = convolution(x, w, b, RELU, geometry)
    dw, db, other_dw, other_db = empty_like(w), empty_like(b), empty_like(w), empty_like(b)
    convolution_kernel_gradient(x, dy, y, RELU, geometry, dw, db)
    with gpunet.convolution("winograd"):
        dx = convolution_gradients(x, dy, y, w, RELU, geometry, other_dw, other_db)
        checks.assert_same_bits(dx, convolution_input_gradient(dy, y, w, RELU, geometry, x.shape))
    checks.assert_same_bits(other_dw, dw)
    checks.assert_same_bits(other_db, db)
    exact = convolution_input_gradient(dy, y, w, RELU, geometry, x.shape)
    assert (checks.host(exact) != checks.host(dx)).any()


@pytest.mark.usefixtures("any_channels")
def test_dropping(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the convolution and dropout one after the other; slab by slab too."""
    geometry, dropping = Geometry(pads=SAME), Dropping(0.3, (7, 3, 2**33 + 5))
    x, w, b, dy = checks.on(device, *_arrays(*CASES["odd sizes"]))
    with gpunet.convolution("winograd"):
        y, saved = convolution(x, w, b, RELU, geometry)
        dropped, mask = dropout(y, *dropping)
        dz = dropout_gradient(dy, mask, dropping.rate)
        dx = convolution_input_gradient(dz, saved, w, RELU, geometry, x.shape)
        monkeypatch.setattr(winograd, "_WORKSPACE", 1)
        own, own_saved = convolution(x, w, b, RELU, geometry, dropping)
        own_dx = convolution_input_gradient(dy, own_saved, w, RELU, geometry, x.shape, dropping.scale)
    for result, expected in ((own, dropped), (own_dx, dx)):
        checks.assert_same_bits(checks.host(result) + 0, checks.host(expected) + 0)  # no zero keeps a sign
    assert 0 < np.count_nonzero(checks.host(own)) < np.count_nonzero(checks.host(y))


@pytest.mark.usefixtures("any_channels")
def test_same_bits_at_every_run_and_slab_by_slab(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    (shape, filters, pads) = CASES["odd sizes"]
    arrays = _arrays(shape, filters, pads)
    first = _run(device, arrays, pads)
    for order in ("forward", "reverse", 5):  # of the threads, on device emulated
        with emulator.configured(order=order):
            for again, result in zip(_run(device, arrays, pads), first, strict=True):
                checks.assert_same_bits(again, result)
    if device == CPU:
        return
    row = 2 * 16 * (shape[3] + filters) * 4  # bytes of two tiles; there are 2 x 4 rows of them
    for workspace, count in ((8 * row, 1), (8 * row - 1, 2), (3 * row, 3), (1, 8)):
        monkeypatch.setattr(winograd, "_WORKSPACE", workspace)
        slabs = list(winograd.slabs((*shape[:3], filters), shape[3], 4))
        assert len(slabs) == count and sum(slab.tiles for slab in slabs) == 16
        largest = max(slab.tiles for slab in slabs)
        assert largest * row / 2 <= max(workspace, row) and largest < 2 * min(slab.tiles for slab in slabs)
        for again, result in zip(_run(device, arrays, pads), first, strict=True):
            checks.assert_same_bits(again, result)


@pytest.mark.usefixtures("any_channels")
def test_same_bits_on_every_tile(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    arrays, pads = _arrays(*CASES["several tiles of a product"]), CASES["several tiles of a product"][2]
    expected = _run(device, arrays, pads)
    for dtype, tile in tiles.TILES.values():
        if dtype == "float32":
            monkeypatch.setattr(tiles, "choose_tile", lambda *_, tile=tile: tile)
            for result, of_default in zip(_run(device, arrays, pads), expected, strict=True):
                checks.assert_same_bits(result, of_default)


@pytest.mark.usefixtures("any_channels")
def test_blocks_of_images_and_of_rows_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for largest in (2**16, 2**13):
        monkeypatch.setattr(im2col, "_LARGEST_BLOCK", largest)
        for case in ("padding of 2", "several tiles of a product"):
            _check(CPU, _arrays(*CASES[case]), CASES[case][2])


@pytest.mark.usefixtures("any_channels")
def test_arrays_that_are_not_contiguous(device: Device) -> None:
    arrays = _arrays(*CASES["odd sizes"])
    y, dx = _run(device, arrays, SAME)
    x, w, b, dy = (array[..., ::2] for array in checks.on(device, *(np.repeat(a, 2, axis=-1) for a in arrays)))
    with gpunet.convolution("winograd"):
        again, saved = convolution(x, w, b, RELU, Geometry(pads=SAME))
        checks.assert_same_bits(again, y)
        checks.assert_same_bits(convolution_input_gradient(dy, saved, w, RELU, Geometry(pads=SAME), x.shape), dx)


@pytest.mark.usefixtures("any_channels")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_that_no_pack_begins_at(device: Device, dtype: type) -> None:
    """Elements move one by one then: the same bits."""
    arrays = _arrays(*CASES["odd sizes"], dtype=dtype)
    expected = _run(device, arrays, SAME)
    flat = (checks.on(device, np.append(np.zeros(1, dtype), array)) for array in arrays)
    x, w, b, dy = (one[1:].reshape(array.shape) for one, array in zip(flat, arrays, strict=True))
    with gpunet.convolution("winograd"), checks.recorded_launches() as launches:
        y, saved = convolution(x, w, b, RELU, Geometry(pads=SAME))
        dx = convolution_input_gradient(dy, saved, w, RELU, Geometry(pads=SAME), x.shape)
    for result, of_packs in zip((y, dx), expected, strict=True):
        checks.assert_same_bits(result, of_packs)
    entries = {launch.entry for launch in launches if "-DWIDTH=1" in launch.options}
    assert device == CPU or entries == {"winograd_filters", "winograd_input", "winograd_output"}


@pytest.mark.usefixtures("any_channels")
def test_what_is_not_finite_is_where_exact_sums_have_it(device: Device) -> None:
    """Though a NaN may be where they have an infinity: a transform subtracts an infinite pixel from none or itself."""
    for place in np.ndindex(4, 4):
        x, w, b, dy = _arrays((1, 6, 6, 4), 4, SAME)
        x[0, 1 + place[0], 1 + place[1], 2] = np.inf
        with np.errstate(invalid="ignore"):
            y, _ = _run(device, (x, w, b, dy), SAME, LINEAR)
            exact = oracle.convolution_z(x, w, b, pads=SAME)
        np.testing.assert_array_equal(np.isfinite(checks.host(y)), np.isfinite(exact))


# Which convolutions, and under which policy (tests/test_convolution_policy.py).


def test_which_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    def serves(
        channels: int = 128, filters: int = 128, size: int = 8, kernel: int = 3, kind: Kind = Kind.CUDA, **geometry: Any
    ) -> bool:
        x, groups = (2, size, 9, channels), geometry.get("groups", 1)
        w = (kernel, 3, channels // groups, filters)
        return winograd.serves(sizes_of("test", x, w, Geometry(**geometry)), kind)

    assert not serves()
    gpunet.set_convolution("winograd")
    assert serves() and serves(64, 64) and serves(kind=Kind.CPU) and serves(pads=((2, 2), (2, 2)))
    for few in ({"channels": 60}, {"filters": 60}, {"channels": 124, "kind": Kind.CPU}, {"kernel": 2}):
        assert not serves(**few)  # type: ignore[arg-type]
    assert not serves(channels=130) and not serves(filters=129)
    for other in ({"strides": (1, 2)}, {"dilation": (2, 1)}, {"groups": 2}, {"pads": ((0, 3), (0, 0))}):
        assert not serves(**other)  # type: ignore[arg-type]
    assert not serves(size=3) and not serves(size=1, pads=SAME)  # single rows of y


def test_a_pooling_is_never_fused_with_them() -> None:
    """Sums of the fused op are short, those of Winograd's convolutions long; the fused op is exact."""
    assert 9 * min(winograd._FEWEST_CHANNELS.values()) > LONGEST_SUM
    layers = [Conv2D(64, 3, name="c"), MaxPooling2D(name="p")]
    model = Sequential([Input((6, 6, 64)), *layers])
    gpunet.set_convolution("winograd")
    assert [unit.name for unit in fusion.units(layers, True)] == ["c", "p"]
    assert "the sums of conv2d 'c' have 576 terms, and may have 511" in model.explain_fusion().lower()


@pytest.mark.usefixtures("any_channels")
def test_a_fused_pooling_stays_exact(device: Device) -> None:
    x, w, b = checks.on(device, *_arrays(*CASES["no padding"])[:3])
    y, _, _ = convolution_pooling(x, w, b, RELU, Geometry(), "same")
    with gpunet.convolution("winograd"):
        checks.assert_same_bits(convolution_pooling(x, w, b, RELU, Geometry(), "same")[0], y)


def _model() -> Sequential:
    set_random_seed(5)
    model = Sequential(
        [
            Input((5, 6, 4)),
            Conv2D(4, 3, padding="same", activation="relu"),
            Conv2D(4, 3, activation="gelu"),
            Flatten(),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.usefixtures("any_channels")
def test_a_model_learns_as_with_exact_sums(device: Device) -> None:
    x, y = checks.normal(12, 5, 6, 4), np.arange(12) % 3
    trained = []
    for policy in ("exact", "winograd"):
        with gpunet.convolution(policy):
            model = _model()
            losses = model.fit(x, y, batch_size=4, epochs=3, verbose=0).history["loss"]
        trained.append((losses, *model.get_weights()))
    assert trained[1][0][-1] < trained[1][0][0]
    for exact, other in zip(*trained, strict=True):
        np.testing.assert_allclose(other, exact, rtol=1e-4, atol=1e-5)
    assert any((one != other).any() for one, other in zip(trained[0][1:], trained[1][1:], strict=True))


@pytest.mark.usefixtures("any_channels")
def test_a_captured_step_is_of_one_policy(device: Device) -> None:
    if device == CPU:
        pytest.skip("nothing is captured on the CPU")
    model, (x, y) = _model(), (checks.normal(4, 5, 6, 4), np.arange(4) % 3)

    def files() -> set[str]:
        """The files of kernels that a step launches; none when it is a graph."""
        with checks.recorded_launches() as made:
            model.train_on_batch(x, y)
        return {launch.file for launch in made}

    exact = [files() for _ in range(6)]
    assert "convolution.cu" in exact[0] and not FILES & exact[0] and not exact[-1]
    gpunet.set_convolution("winograd")
    by_winograd = [files() for _ in range(6)]
    assert by_winograd[0] >= FILES and not by_winograd[-1]
    gpunet.set_convolution("exact")
    assert not files()  # the first graph still holds
    with gpunet.convolution("winograd"):
        assert not files()
