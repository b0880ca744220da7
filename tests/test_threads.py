"""Threads of the host (backend/threads.py): who makes which call, in which order, and that results do not show it."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import checks
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import gpunet
from gpunet.backend import threads
from gpunet.backend.arrays import CPU
from gpunet.backend.threads import Part, get_threads, one_blas_thread, run, set_threads
from gpunet.ops.activation import Activation
from gpunet.ops.adam import adam
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_pooling import convolution_pooling
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.pooling import average_pooling, average_pooling_gradient, max_pooling, max_pooling_gradient
from gpunet.recipes import RECIPES

NUMBERS = (1, 2, 3, 8)  # of threads


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", None)


@pytest.fixture(params=NUMBERS)
def number(request: pytest.FixtureRequest) -> int:
    set_threads(request.param)
    return int(request.param)


def _parts(count: int, call: Callable[[int], object], log: list[tuple[str, int]]) -> Iterator[Part]:
    def part(i: int) -> Part:
        log.append(("before", i))
        yield lambda: call(i)
        log.append(("after", i))

    return (part(i) for i in range(count))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30])
def test_every_call_is_made_once_and_parts_begin_and_end_in_order(number: int, count: int) -> None:
    made: list[int] = []
    log: list[tuple[str, int]] = []
    run(_parts(count, made.append, log))
    assert sorted(made) == list(range(count))
    for when in ("before", "after"):
        assert [i for name, i in log if name == when] == list(range(count))
    begun = ended = 0
    for when, _ in log:
        begun, ended = begun + (when == "before"), ended + (when == "after")
        assert begun - ended <= 2 * number + 1  # each holds on to memory


def test_helpers_make_calls_at_the_same_time() -> None:
    """Three calls that end only when all three have begun."""
    set_threads(3)
    together = threading.Barrier(3, timeout=30)
    names: list[str] = []

    def call(i: int) -> None:
        together.wait()
        names.append(threading.current_thread().name)

    run(_parts(3, call, []))
    assert len(set(names)) == 3 and threading.current_thread().name in names


def test_parts_are_not_in_helpers(number: int) -> None:
    here = threading.get_ident()

    def part() -> Part:
        assert threading.get_ident() == here
        yield lambda: None
        assert threading.get_ident() == here

    run(part() for _ in range(20))


def test_an_exception_ends_the_run_when_no_call_is_being_made(number: int) -> None:
    busy, begun = [0], threading.Event()

    def call(i: int) -> None:
        busy[0] += 1
        if i == 1:
            begun.wait(0.2)
            busy[0] -= 1
            raise ZeroDivisionError("call 1")
        begun.set()
        busy[0] -= 1

    log: list[tuple[str, int]] = []
    with pytest.raises(ZeroDivisionError, match="call 1"):
        run(_parts(20, call, log))
    assert busy == [0] and ("after", 0) in log and ("after", 1) not in log
    made: list[int] = []
    run(_parts(5, made.append, []))  # goes on as ever
    assert sorted(made) == list(range(5))


def test_an_exception_waits_for_the_calls_that_are_being_made() -> None:
    set_threads(2)
    begun, ended = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    def first() -> Part:
        yield lambda: None
        assert begun.wait(30)
        raise ZeroDivisionError

    def second() -> Part:
        yield slow

    with pytest.raises(ZeroDivisionError):
        run(part() for part in (first, second, second))
    assert ended.is_set()


def test_who_waits_makes_a_call_for_which_nobody_has_had_time() -> None:
    """The first call ends only when the second was made, while the one helper is at the first."""
    set_threads(2)
    begun, second_made = threading.Event(), threading.Event()

    def first() -> Part:
        def call() -> None:
            begun.set()
            assert second_made.wait(30)

        yield call

    def second() -> Part:
        assert begun.wait(30)
        yield second_made.set

    def third() -> Part:
        yield lambda: None

    run(part() for part in (first, second, third))


def test_arrays_of_a_call_are_free_as_soon_as_it_was_made() -> None:
    """As above; that the helper has not seen the second call yet keeps none of its arrays alive."""
    set_threads(2)
    begun, second_made = threading.Event(), threading.Event()
    arrays = [np.ones(10_000)]
    ended = weakref.ref(arrays[0])

    def first() -> Part:
        def call() -> None:
            begun.set()
            assert second_made.wait(30)

        yield call
        assert ended() is None

    def use(array: Any) -> None:
        array.sum()
        second_made.set()

    def second() -> Part:
        assert begun.wait(30)
        yield partial(use, arrays.pop())

    def third() -> Part:
        yield lambda: None

    run(part() for part in (first, second, third))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_a_part_drops_the_calls_that_nobody_has_begun(number: int, error: type[BaseException]) -> None:
    made: list[int] = []

    def part(i: int) -> Part:
        if i == 2:
            raise error
        yield lambda: made.append(i)

    with pytest.raises(error):
        run(part(i) for i in range(5))
    after = list(made)
    assert set(after) <= {0, 1}
    run(_parts(4, lambda i: None, []))
    assert made == after


def test_no_more_threads_than_now_asked_for() -> None:
    set_threads(8)
    run(_parts(20, lambda i: None, []))
    set_threads(2)
    names: set[str] = set()
    busy, most, lock = [0], [0], threading.Lock()

    def call(i: int) -> None:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        names.add(threading.current_thread().name)
        time.sleep(0.002)
        with lock:
            busy[0] -= 1

    run(_parts(40, call, []))
    assert most == [2] and len(names) == 2


def test_calls_may_run_parts_themselves(number: int) -> None:
    made: list[tuple[int, int]] = []
    run(_parts(6, lambda i: run(_parts(6, lambda j: made.append((i, j)), [])), []))
    assert sorted(made) == [(i, j) for i in range(6) for j in range(6)]


def test_helpers_see_the_callers_context() -> None:
    """So do they NumPy's error state."""
    set_threads(3)
    variable: ContextVar[str] = ContextVar("variable", default="not set")
    variable.set("set")
    together, seen = threading.Barrier(3, timeout=30), []

    def call(i: int) -> None:
        together.wait()
        seen.append(variable.get())

    run(_parts(3, call, []))
    assert seen == ["set"] * 3


def test_nothing_of_a_run_stays_alive(number: int) -> None:
    array = np.ones(10_000)
    ended = weakref.ref(array)

    def call(i: int, array: Any = array) -> None:
        array.sum()

    run(_parts(10, call, []))
    del array, call
    gc.collect()
    assert ended() is None


def _blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_the_callers_blas_keeps_its_threads(number: int) -> None:
    before, inside = _blas_threads(), []
    run(_parts(4, lambda i: inside.append(_blas_threads()), []))
    with one_blas_thread():
        run(_parts(1, lambda i: inside.append(_blas_threads()), []))
        inside.append(_blas_threads())
    assert _blas_threads() == before
    assert all(set(numbers) <= {1} for numbers in inside)
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        _ = 1 // 0
    assert _blas_threads() == before


def test_blas_has_its_threads_again_after_the_last_block_of_any_thread() -> None:
    before, entered, leave = _blas_threads(), threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        entered.wait(30)
    assert set(_blas_threads()) <= {1}
    leave.set()
    thread.join()
    assert _blas_threads() == before


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads._default_threads.cache_clear()
    try:
        monkeypatch.delenv("GPUNET_THREADS", raising=False)
        assert (
            gpunet.get_threads() == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        threads._default_threads.cache_clear()
        monkeypatch.setenv("GPUNET_THREADS", "3")
        assert get_threads() == 3
        gpunet.set_threads(5)
        assert get_threads() == 5
        monkeypatch.setattr(threads, "_chosen", None)
        for text in ("none", "0", "-1"):
            threads._default_threads.cache_clear()
            monkeypatch.setenv("GPUNET_THREADS", text)
            with pytest.raises(ValueError, match=f"GPUNET_THREADS: value must be a positive integer; got '{text}'"):
                get_threads()
    finally:
        threads._default_threads.cache_clear()
    with pytest.raises(ValueError, match="set_threads: threads must be at least 1; got 0"):
        set_threads(0)
    with pytest.raises(TypeError, match=r"set_threads: threads must be an integer; got 2\.5"):
        set_threads(2.5)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    set_threads(3)
    run(_parts(9, lambda i: None, []))
    child = os.fork()
    if child == 0:
        together, made = threading.Barrier(3, timeout=30), list[int]()

        def call(i: int) -> None:
            together.wait()
            made.append(i)

        try:
            run(_parts(3, call, []))
        finally:
            os._exit(0 if sorted(made) == [0, 1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0


def _ops() -> list[Any]:
    """Return what ops give that threads share: convolutions and pooling of several blocks, products, Adam."""
    geometry, relu = Geometry(pads=((1, 1), (1, 1))), Activation.RELU
    x, w, b = checks.normal(24, 30, 30, 16), checks.normal(3, 3, 16, 24, seed=1), checks.normal(24, seed=2)
    results: list[Any] = list(convolution_pooling(x, w, b, relu, geometry, "valid"))
    for some in (geometry, Geometry(strides=(1, 2), pads=((1, 1), (1, 1)))):
        y, saved = convolution(x, w, b, relu, some)
        dw, db = np.empty_like(w), np.empty_like(b)
        convolution_kernel_gradient(x, y, saved, relu, some, dw, db)
        results += [y, dw, db, convolution_input_gradient(y, saved, w, relu, some, x.shape)]
        both = np.empty_like(w), np.empty_like(b)
        results += [convolution_gradients(x, y, saved, w, relu, some, *both), *both]
    rows, weights = checks.normal(300, 500), checks.normal(500, 400, seed=3)
    y, saved = dense(rows, weights, None, relu)
    dw = np.empty_like(weights)
    dense_kernel_gradient(rows, y, saved, relu, dw, None)
    results += [y, dw, dense_input_gradient(y, saved, weights, relu)]
    moved = [checks.normal(300_000, seed=seed) for seed in range(3)]
    adam(moved[0], checks.normal(300_000, seed=4), moved[1], np.abs(moved[2]), np.array([0.1]), 0.9, 0.999, 1e-7)
    images, windows = checks.normal(64, 30, 30, 24), (3, 2, "same")
    y, winner = max_pooling(images, *windows)
    results += [y, winner, max_pooling_gradient(y, winner, *windows, images.shape)]
    results += [average_pooling(images, *windows), average_pooling_gradient(y, *windows, images.shape)]
    return [*results, *moved]


def test_results_have_the_same_bits_whatever_the_number_of_threads() -> None:
    set_threads(1)
    expected = _ops()
    for count in NUMBERS[1:]:
        set_threads(count)
        for actual, one in zip(_ops(), expected, strict=True):
            checks.assert_same_bits(actual, one)


def test_training_has_the_same_bits_whatever_the_number_of_threads() -> None:
    recipe = RECIPES["cnn50"]
    x = np.random.default_rng(0).random((70, 50, 50, 1), np.float32)
    y = np.random.default_rng(1).integers(10, size=70)
    weights = []
    for count in (1, 2, 5):
        set_threads(count)
        gpunet.set_random_seed(1)
        with gpunet.device(CPU):
            model = recipe.network()
            model.compile("adam", "sparse_categorical_crossentropy")
            model.fit(x, y, batch_size=35, epochs=1, verbose=0)
        weights.append(model.get_weights())
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            checks.assert_same_bits(other, one)
