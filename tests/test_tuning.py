"""Tuning (gpunet/inspection/tuning.py): every tile timed on the products of a step, and which of them are kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import checks
import numpy as np
import pytest
from fake_cupy import FakeCupy

from gpunet import Dense, Input, Sequential
from gpunet.backend import arrays, devices, launch
from gpunet.backend.arrays import CPU, EMULATED, Device, Kind, assign, empty
from gpunet.inspection import tuning
from gpunet.inspection.tuning import Measured
from gpunet.ops import tiles
from gpunet.ops.choices import Key, Product


def _measured(product: Product, default: str, **seconds: list[float]) -> Measured:
    return Measured("dense", "float32", product, default, seconds)


def test_a_tile_must_be_faster_by_more_than_noise() -> None:
    one = _measured(
        Product(8, 8, 8),
        "small",
        small=[10, 10, 10, 10],
        medium=[9.8, 9.8, 9.8, 9.8],  # by 2 %
        narrow=[9, 9, 11, 9],  # three rounds of four
        large=[5, 5, 10.5, 10.5],  # two
    )
    assert [name for name in one.seconds if one.beats(name)] == ["narrow"]
    assert one.best == "narrow"
    assert _measured(Product(8, 8, 8), "small", small=[1.0], large=[2.0]).best == "small"


def test_a_class_gets_a_tile_that_is_no_loss_for_any_of_its_products() -> None:
    def key(k: int) -> Key:
        return Key("dense", "emulated", f"float32 m8 n8 k{k}")

    measured = [
        _measured(Product(8, 8, 8), "small", small=[10], medium=[5], narrow=[6]),
        _measured(Product(7, 8, 8), "small", small=[10], medium=[11], narrow=[9]),
        _measured(Product(8, 8, 16), "small", small=[10], medium=[5], narrow=[20]),
        _measured(Product(7, 8, 16), "medium", small=[10], medium=[5], narrow=[5]),
        _measured(Product(8, 8, 32), "small", small=[10], medium=[5]),
        _measured(Product(7, 8, 32), "small", small=[10], medium=[11]),
    ]
    found = tuning.choose(measured, EMULATED)
    assert found == {key(8): "narrow", key(16): "medium", key(32): None}
    other = Key("convolution", "9.0", "float32 m8 n8 k8")
    assert tuning.merged({key(32): "large", key(16): "large", other: "large"}, found) == {
        other: "large",
        key(8): "narrow",
        key(16): "medium",
    }


def test_a_tile_with_other_bits_is_refused() -> None:
    y = np.empty(3, np.float32)

    def again(*, tile: tiles.Tile) -> None:
        assign(y, np.float32([0, 0, -0.0 if tile == tiles.LARGE else 0]))

    launched = tiles.Launched("dense", tiles.plan(3, 3, 3, np.float32), "float32", (y,), (), again)
    message = r"tune: dense of .*n=3, k=3.* gives other bits with tile 'large' than with 'small'"
    with pytest.raises(RuntimeError, match=message):
        tuning.measure(launched, CPU)


def test_a_tile_that_leaves_an_output_unwritten_is_refused() -> None:
    x, y = np.ones(3, np.float32), np.empty(3, np.float32)

    def again(*, tile: tiles.Tile) -> None:
        y[: 2 if tile == tiles.LARGE else 3] = x[0]

    launched = tiles.Launched("dense", tiles.plan(3, 3, 3, np.float32), "float32", (x, y), (x,), again)
    with pytest.raises(RuntimeError, match="other bits with tile 'large'"):
        tuning.measure(launched, CPU)
    assert (x == 1).all()


def test_all_products_of_a_step_are_measured_and_the_model_stays_as_it_was(device: Device) -> None:
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    model = Sequential([Input((5,)), *(Dense(units, activation="relu") for units in (5, 5, 3))])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with tuning.products(model, 4) as launches:
        found = [(one.operation, one.plan.product) for one in launches]
        measured = tuning.measure(launches[-1], device)
    assert sorted(found) == [
        ("dense", Product(4, 3, 5)),
        ("dense", Product(4, 5, 5)),
        ("dense_input_gradient", Product(4, 5, 3)),
        ("dense_input_gradient", Product(4, 5, 5)),
        ("dense_kernel_gradient", Product(5, 3, 4)),
        ("dense_kernel_gradient", Product(5, 5, 4)),
    ]
    assert set(measured.seconds) == {"large", "medium", "tall", "narrow", "small"} and measured.default == "small"
    assert all(min(times) > 0 for times in measured.seconds.values())
    for one, other in zip(model.get_weights(), before, strict=True):
        checks.assert_same_bits(one, other)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "launched", set())
    cached = (arrays.import_cupy, devices.capability, launch._cuda_kernel, launch._cuda_module)
    for one in cached:
        one.cache_clear()
    yield fake
    for one in cached:
        one.cache_clear()


def test_on_a_gpu_graphs_are_timed_in_turns_by_events_of_their_stream(cupy: FakeCupy) -> None:
    gpu = Device(Kind.CUDA)
    y, used = empty((1000,), np.float32, gpu), list[str]()

    def again(*, tile: tiles.Tile) -> None:
        used.append(next(name for name, (_, known) in tiles.TILES.items() if known == tile))
        launch.launch("probe.cu", "probe", grid=4, block=256, args=(y, 1000), real=np.float32)

    launched = tiles.Launched("dense", tiles.plan(3, 3, 3, np.float32), "float32", (y,), (), again)
    measured = tuning.measure(launched, gpu)
    names = ["large", "medium", "tall", "narrow", "small"]
    assert list(measured.seconds) == names and {len(times) for times in measured.seconds.values()} == {21}
    # The first round goes backwards, and the fake GPU takes 2, 4, 6, … milliseconds from event to event.
    for rank, name in enumerate(reversed(names)):
        assert measured.seconds[name][0] == pytest.approx(2e-3 * (rank + 1) / 20)
        assert measured.seconds[name][1] == pytest.approx(2e-3 * (10 - rank) / 20)
    # Once for the bits, then to log and to capture 20.
    assert [used.count(name) for name in names] == [41, 41, 41, 41, 42]
    start = cupy.log.index("beside: record event 1")  # event 0 has the streams wait for each other
    assert cupy.log[start : start + 3] == [
        "beside: record event 1",
        "beside: launch graph",
        "beside: record event 2",
    ]
    found = tuning.choose([measured], gpu)
    assert list(found) == [Key("dense", "9.0", "float32 m4 n4 k4")]
