"""Emulated kernels run as CUDA says: numbers of threads, barriers, warps, shared memory, arguments; in any order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulated_kernel import PLANTED, on_emulator, output, require_emulator, run

from gpunet.backend import emulator, emulator_kernel, launch, threads
from gpunet.backend.arrays import to_host

RIGHT = PLANTED / "right.cu"
ORDERS = ("forward", "reverse", 7)


@pytest.fixture(autouse=True, params=[False, True], ids=["fast", "checked"])
def checked(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Every test here runs in both modes."""
    require_emulator()
    with emulator.configured(checked=request.param):
        yield request.param


def numbers(count: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(count).astype(np.float32)


def test_numbers_of_threads_and_blocks_in_three_dimensions() -> None:
    block, grid = (5, 3, 2), (4, 3, 2)
    y = output(math.prod(grid) * math.prod(block), dtype=np.int32)
    run(RIGHT, "thread_numbers", y, grid=grid, block=block)
    expected = [
        1000000 * z + 10000 * j + 100 * x + 16 * c + 4 * b + a
        for c, b, a in itertools.product(range(2), range(3), range(4))
        for z, j, x in itertools.product(range(2), range(3), range(5))
    ]
    assert to_host(y).tolist() == expected


def test_some_blocks_of_a_grid_can_be_run_alone() -> None:
    """Checked or not: the others leave their outputs unwritten."""
    y = output(6 * 32)
    before = to_host(y).tobytes()
    with emulator.configured(blocks=lambda grid: [range(1), range(grid[0] - 2, grid[0])]):
        launch.launch("probe.cu", "probe", grid=6, block=32, args=(y, y.size), real=np.float32)
    numbers, written = to_host(y), np.r_[0:32, 128:192]
    assert numbers[written].tolist() == (2 * written + 1).tolist()
    assert numbers[32:128].tobytes() == before[4 * 32 : 4 * 128]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 32, 64, 1024])
def test_barriers_hold_all_threads(threads: int, order: str | int) -> None:
    x = numbers(3 * threads)
    y = output(3)
    with emulator.configured(order=order):
        run(RIGHT, "sum_tree", on_emulator(x), y, grid=3, block=threads, shared=4 * threads)
    parts = x.reshape(3, threads)
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        parts = parts[:, :half] + parts[:, half:]
    np.testing.assert_array_equal(to_host(y), parts[:, 0])


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("order", ORDERS)
def test_warp_collectives(order: str | int, real: str) -> None:
    x = np.arange(100, 132).astype(real)
    y = output(12, 32, dtype=real)
    with emulator.configured(order=order):
        run(RIGHT, "collectives", on_emulator(x), y, block=32, real=real)
    lane = np.arange(32)
    expected = [
        x[np.full(32, 5)],
        x[lane // 8 * 8 + 3],
        x[np.where(lane >= 3, lane - 3, lane)],
        x[np.where(lane % 8 >= 3, lane - 3, lane)],
        x[np.where(lane + 3 < 32, lane + 3, lane)],
        x[np.where(lane % 8 + 3 < 8, lane + 3, lane)],
        x[lane ^ 5],
        np.full(32, sum(1 << i for i in range(0, 32, 3)) >> 8),
        np.full(32, 1),
        np.full(32, 2),
        x[np.where(lane < 16, lane ^ 1, lane ^ 2)],
        np.where(lane < 31, lane + 1, lane),
    ]
    np.testing.assert_array_equal(to_host(y), np.array(expected, real))


@pytest.mark.parametrize("order", ORDERS)
def test_lanes_that_do_not_exist_or_have_left_are_not_waited_for(order: str | int) -> None:
    y = output(40)
    with emulator.configured(order=order):
        run(RIGHT, "few_lanes", y, block=40)
    expected = np.arange(40) ^ 1
    expected[np.arange(40) % 32 < 4] *= 101
    np.testing.assert_array_equal(to_host(y), expected.astype(np.float32))


def test_syncwarp_orders_the_lanes_of_a_warp() -> None:
    x = numbers(64)
    y = output(64)
    run(RIGHT, "exchange_in_warp", on_emulator(x), y)
    np.testing.assert_array_equal(to_host(y), x[np.arange(64) ^ 1])


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_several_elements_are_copied_at_once(real: str) -> None:
    x = np.arange(64, dtype=real)
    y = output(64, dtype=real)
    run(RIGHT, "copy_fours", on_emulator(x), y, block=16, real=real)
    np.testing.assert_array_equal(to_host(y), x)


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("order", ORDERS)
def test_copies_are_under_way_ahead(order: str | int, real: str) -> None:
    count, width = 5 * 64 + 7, 16 // np.dtype(real).itemsize
    x = numbers(width * count).astype(real)
    y = output(width * 64, dtype=real)
    with emulator.configured(order=order):
        run(RIGHT, "copy_ahead", on_emulator(x), y, count, real=real)
    padded = np.zeros((6, 64, width), real)
    padded.reshape(-1)[: x.size] = x
    expected = np.zeros((64, width), real)
    for trip in padded:
        expected += trip[::-1]
    np.testing.assert_array_equal(to_host(y).reshape(64, width), expected)


def test_threads_may_share_the_bytes_of_a_word() -> None:
    x = np.arange(64, dtype=np.uint8)
    y = output(64, dtype=np.uint8)
    run(RIGHT, "reverse_bytes", on_emulator(x), y)
    np.testing.assert_array_equal(to_host(y), x[::-1])


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_mathematical_functions_are_those_of_the_element_type(real: str) -> None:
    x = np.linspace(0.01, 3, 50).astype(real)
    y = output(14, 50, dtype=real)
    run(RIGHT, "functions", on_emulator(x), y, 50, real=real)
    exact = x.astype(np.longdouble)
    erf = np.array([math.erf(v) for v in x])
    functions: list[Any] = [
        np.exp,
        np.expm1,
        np.log,
        np.log1p,
        np.tanh,
        lambda _: erf,
        np.sqrt,
        np.abs,
        lambda v: v**1.5,
    ]
    expected = [f(exact) for f in functions]
    expected += [np.minimum(exact, 1), np.maximum(exact, 1), exact * exact + exact]
    expected += [np.minimum(exact, 1), np.maximum(exact, 1)]
    np.testing.assert_allclose(to_host(y), np.array(expected, real), rtol=4 * np.finfo(real).eps)


def test_upper_half_of_a_product() -> None:
    a, b = 0x7234567890ABCDEF, 0x7EDCBA0987654321
    y = output(1, dtype=np.uint64)
    run(RIGHT, "product_high", y, a, b, block=1)
    assert int(y[0]) == a * b >> 64


@pytest.mark.parametrize("order", ORDERS)
def test_threads_run_in_the_order_that_is_asked_for(order: str | int, checked: bool) -> None:
    if checked:
        pytest.skip("the kernel that shows the order has a race, which the checked mode reports")
    y, following = output(64, dtype=np.int32), on_emulator(np.zeros(1, np.int32))
    with emulator.configured(order=order):
        run(RIGHT, "running_order", y, following)
    place = to_host(y).tolist()
    assert sorted(place) == list(range(64))
    assert (place == list(range(64))) == (order == "forward")
    assert (place == list(range(63, -1, -1))) == (order == "reverse")


def test_shared_memory_starts_as_nan_in_every_block(checked: bool) -> None:
    if checked:
        pytest.skip("the checked mode reports the read")
    for real in (np.float32, np.float64):
        y = on_emulator(np.zeros(96, real))
        run(RIGHT, "spoil", y, grid=3, block=32, real=real)
        assert np.isnan(to_host(y)).all()


def test_workers_share_the_blocks_and_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x = on_emulator(numbers(64 * 100))
    one, three = output(64 * 100), output(64 * 100)
    monkeypatch.setattr(emulator_kernel, "get_threads", lambda: 1)
    run(RIGHT, "iterate", x, one, 50, grid=100)
    asked: list[int] = []

    def run_parts(parts: Iterable[threads.Part]) -> None:
        counted = list(parts)
        asked.append(len(counted))
        threads.run(counted)

    monkeypatch.setattr(emulator_kernel, "run", run_parts)
    monkeypatch.setattr(emulator_kernel, "get_threads", lambda: 3)
    monkeypatch.setattr(emulator_kernel, "_WORTH_SPREADING", 0)
    run(RIGHT, "iterate", x, three, 50, grid=100)
    np.testing.assert_array_equal(to_host(one), to_host(three))
    assert asked in ([], [3])  # the checked mode has one worker


@pytest.mark.parametrize("order", ORDERS[1:])
def test_a_right_kernel_gives_the_same_bits_in_any_order(order: str | int) -> None:
    x = on_emulator(numbers(64 * 3))
    forward, other = output(64 * 3), output(64 * 3)
    run(RIGHT, "iterate", x, forward, 20, grid=3)
    with emulator.configured(order=order):
        run(RIGHT, "iterate", x, other, 20, grid=3)
    np.testing.assert_array_equal(to_host(forward), to_host(other))


def typed() -> list[Any]:
    return [
        on_emulator(np.ones(1)),
        on_emulator(np.zeros(1, np.float32)),
        on_emulator(np.ones(1, np.int32)),
        on_emulator(np.ones(1, np.uint8)),
        4,
        0.5,
    ]


def test_arguments_of_every_type_arrive() -> None:
    args = typed()
    run(RIGHT, "types", *args, block=1)
    assert float(args[1][0]) == 7.5


def test_none_is_a_null_pointer() -> None:
    args = typed()
    args[0] = None
    run(RIGHT, "types", *args, block=1)
    assert float(args[1][0]) == 0


@pytest.mark.parametrize(
    ("number", "value", "rule"),
    [
        (
            0,
            np.ones(1, np.float32),
            r"argument 0 \(const double\*\) must be an emulated array of float64; got an emulated",
        ),
        (
            1,
            np.ones(1),
            r"argument 1 \(float\*\) must be an emulated array of float32; got an emulated array of float64",
        ),
        (2, np.ones(1, np.int64), r"argument 2 \(const int\*\) must be an emulated array of int32"),
        (3, 3, r"argument 3 \(unsigned char\*\) must be an emulated array of uint8; got 3 of type int64"),
        (4, 1.5, r"argument 4 \(long long\) must be a scalar of type int64; got 1.5 of type float32"),
        (5, 1, r"argument 5 \(float\) must be a scalar of type float32; got 1 of type int64"),
        (5, None, r"argument 5 \(float\) must be a scalar of type float32; got NoneType"),
    ],
)
def test_an_argument_of_another_type_is_refused(number: int, value: Any, rule: str) -> None:
    args = typed()
    args[number] = on_emulator(value) if isinstance(value, np.ndarray) else value
    with pytest.raises(TypeError, match="right.cu:types: " + rule):
        run(RIGHT, "types", *args, block=1)


def test_too_few_arguments_and_read_only_outputs_are_refused() -> None:
    args = typed()
    with pytest.raises(TypeError, match=r"right.cu:types: kernel must get 6 arguments; got 5"):
        run(RIGHT, "types", *args[:5], block=1)
    args[1].flags.writeable = False
    with pytest.raises(TypeError, match=r"argument 1 \(float\*\) must be writable; got a read-only array"):
        run(RIGHT, "types", *args, block=1)


def test_more_threads_than_the_launch_bounds_are_refused() -> None:
    run(RIGHT, "bounded", output(64), block=64)
    with pytest.raises(ValueError, match=r"right.cu:bounded: block must have at most 64 threads .* got \(65, 1, 1\)"):
        run(RIGHT, "bounded", output(65), block=65)


def test_an_unknown_entry_is_refused() -> None:
    with pytest.raises(ValueError, match=r"right.cu: entry must be one of \[.*'reverse'.*\]; got 'reversed'"):
        run(RIGHT, "reversed", output(64))


def test_too_much_dynamic_shared_memory_is_refused() -> None:
    with pytest.raises(emulator.EmulatorError, match="from 0 to 232448 bytes; got 232449"):
        run(RIGHT, "sum_tree", on_emulator(numbers(64)), output(1), shared=232449)


def test_a_kernel_with_a_huge_stack_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.cu"
    path.write_text(
        'extern "C" __global__ void huge(REAL* y) {\n'
        "    REAL a[20000];\n"
        "    for (int i = 0; i < 20000; ++i) a[i] = y[i % 64];\n"
        "    __syncthreads();\n"
        "    y[threadIdx.x] = a[static_cast<int>(y[0]) % 20000];\n"
        "}\n"
    )
    with pytest.raises(RuntimeError, match=r"(?s)huge.cu: the kernel does not compile.*frame.*32768"):
        run(path, "huge", output(64))


@pytest.mark.parametrize("order", ["backward", "-1", "1.5"])
def test_an_unknown_order_is_refused(order: str) -> None:
    with (
        pytest.raises(ValueError, match="order: value must be 'forward', 'reverse' or an integer >= 0"),
        emulator.configured(order=order),
    ):
        pass


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator._environment_settings.cache_clear()
    try:
        monkeypatch.setenv("GPUNET_EMULATOR_ORDER", "12")
        monkeypatch.setenv("GPUNET_EMULATOR_CHECK", "1")
        assert emulator._environment_settings() == emulator.Settings(checked=True, order=12)
        emulator._environment_settings.cache_clear()
        monkeypatch.setenv("GPUNET_EMULATOR_ORDER", "sideways")
        with pytest.raises(ValueError, match=r"GPUNET_EMULATOR_ORDER: value must be .*; got 'sideways'"):
            emulator._environment_settings()
    finally:
        emulator._environment_settings.cache_clear()
