"""Faults planted in small kernels are reported with kernel, line, block and thread; the right twins pass.

(test_emulator.py runs right kernels in the checked mode too.)
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from emulated_kernel import PLANTED, fault_line, message, on_emulator, output, require_emulator, run

from gpunet.backend import emulator, emulator_kernel
from gpunet.backend.arrays import Array, address, to_host
from gpunet.backend.emulator_abi import parse_signature
from gpunet.backend.emulator_checks import CheckedArguments


@pytest.fixture(scope="module", autouse=True, params=["found", "ziglang"])
def _compiler(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here runs with the compiler that is found, and with ziglang's."""
    found = os.environ.get("GPUNET_CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if request.param == "found":
        require_emulator()
        yield
        return
    if not importlib.util.find_spec("ziglang"):
        pytest.skip("ziglang is not installed")
    if found is None or "ziglang" in found:
        pytest.skip("ziglang's compiler is the one that is found")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNET_CXX", f"{sys.executable} -m ziglang c++")
        emulator.find_compiler.cache_clear()
        emulator._module.cache_clear()
        assert "ziglang" in emulator.find_compiler().description
        yield
    emulator.find_compiler.cache_clear()
    emulator._module.cache_clear()


def skip_if_unseen(entry: str) -> None:
    name, version = emulator.find_compiler().description.split()[:2]
    if entry == "read_four_past" and name == "clang" and int(version.partition(".")[0]) < 16:
        pytest.skip("clang before version 16 does not show the copy of a struct")


@pytest.fixture
def x() -> Array:
    return on_emulator(np.arange(64, dtype=np.float32))


# What happened, in the words of the report after "faults.cu:entry: ", up to where; and the thread.
FAULTS = {
    "missing_barrier": (
        "uninitialised read at LINE: nothing in this block has written byte 252 of shared array `tile`",
        0,
    ),
    "missing_barrier_for_bytes": ("uninitialised read at LINE: nothing in this block has written byte 1 of shared", 0),
    "missing_second_barrier": (
        "race: reads byte 124 of shared array `tile` (256 bytes) at LINE; thread (31, 0, 0) of",
        32,
    ),
    "barrier_in_half": ("divergent __syncthreads: waits at LINE for thread (32, 0, 0), which has left the kernel", 0),
    "two_barriers": ("divergent __syncthreads: waits at LINE while others wait at faults.cu:", 32),
    "lane_elsewhere": ("divergent warp collective: waits at LINE for thread (5, 0, 0), which waits at faults.cu:", 0),
    "different_masks": ("divergent warp collective: lane ", None),
    "not_in_own_mask": ("warp collective at LINE: lane 0 is not in its own mask 0xffff0000", 0),
    "absent_lane": ("shuffle at LINE: lane 8 reads from lane 16, which does not take part", 8),
    "read_past": ("out-of-bounds read of 4 bytes at LINE: element 64 of argument 0 (const float*, 64 elements)", 63),
    "fill_past": ("out-of-bounds write of ", 0),
    "read_four_past": ("out-of-bounds read of ", 15),
    "write_before": ("out-of-bounds write of 4 bytes at LINE: element -1 of argument 1 (float*, 64 elements)", 0),
    "shared_index": ("out-of-bounds index at LINE: 7 for 'float", 7),
    "shared_pointer": ("out-of-bounds write of 4 bytes at LINE: byte 252 of shared array `tile` (252 bytes)", 63),
    "dynamic_pointer": ("out-of-bounds write of 4 bytes at LINE: byte 252 of dynamic shared memory (252 bytes)", 63),
    "local_index": ("out-of-bounds index at LINE: 8 for 'float", 8),
    "unwritten_shared": ("uninitialised read at LINE: nothing in this block has written byte 160 of shared", 40),
    "write_race": ("race: writes element 0 of argument 1 (float*, 64 elements) at LINE; thread (0, 0, 0) of block", 1),
    "shift_in_place": (
        "race: writes element 1 of argument 1 (float*, 64 elements) at LINE; thread (0, 0, 0) of block",
        1,
    ),
    "write_const": ("write at LINE to a const array: element 0 of argument 0 (const float*, 64 elements)", 0),
    "misaligned": ("misaligned read of 4 bytes at LINE", 0),
    "overflow": ("undefined behaviour at LINE: signed integer overflow of +", 41),
    "shift": ("undefined behaviour at LINE: shift by too many bits, or of a negative number", 32),
    "copy_not_waited_for": ("uninitialised read at LINE: nothing in this block has written byte 252 of shared", 0),
    "copied_over": ("uninitialised read at LINE: nothing in this block has written byte 252 of shared", 0),
    "newest_copy_not_waited_for": ("uninitialised read at LINE: nothing in this block has written byte 256 of", 0),
    "copy_without_barrier": ("uninitialised read at LINE: nothing in this block has written byte 252 of shared", 0),
    "copy_too_early": ("race: reads byte 124 of shared array `tile` (256 bytes) at LINE; thread (31, 0, 0) of", 32),
    "copy_left": ("leaves the kernel without waiting for 1 asynchronous copies", 5),
    "copy_misaligned": ("misaligned read of 16 bytes at LINE", 0),
    "copy_past": ("out-of-bounds read of 4 bytes at LINE: element 64 of argument 0 (const float*, 64 elements)", 63),
    "copy_to_global": ("asynchronous copy at LINE to what is not shared memory", 0),
    "copy_from_shared": ("asynchronous copy at LINE from shared memory", 0),
    "divide": ("undefined behaviour at LINE: integer division by zero, or overflow of /", 7),
}


@pytest.mark.parametrize("entry", FAULTS)
def test_a_planted_fault_is_reported(entry: str, x: Array) -> None:
    skip_if_unseen(entry)
    what, thread = FAULTS[entry]
    y = on_emulator(np.zeros(64, np.float32))
    text = message(entry, x, y, shared=252 if entry == "dynamic_pointer" else 0)
    assert text.startswith(f"faults.cu:{entry}: {what}".replace("LINE", fault_line(entry) if "LINE" in what else ""))
    if thread is not None:
        assert text.endswith(f", in block (0, 0, 0), thread ({thread}, 0, 0)")
    assert not to_host(y).any(), "a failed launch must leave its arrays as they were"


@pytest.mark.parametrize(("entry", "number"), [("fill_past", 1), ("read_four_past", 0)])
def test_the_first_element_out_of_bounds_is_named(entry: str, number: int, x: Array) -> None:
    skip_if_unseen(entry)
    text = message(entry, x, on_emulator(np.zeros(64, np.float32)))
    assert f" at {fault_line(entry)}: element 64 of argument {number} (" in text


@pytest.mark.parametrize(
    "entry", ["barrier_in_half", "two_barriers", "lane_elsewhere", "not_in_own_mask", "absent_lane"]
)
def test_divergence_is_reported_in_the_fast_mode_too(entry: str, x: Array) -> None:
    what, thread = FAULTS[entry]
    text = message(entry, x, output(64), checked=False)
    assert text.startswith(f"faults.cu:{entry}: {what}".replace("LINE", fault_line(entry)))
    assert text.endswith(f", in block (0, 0, 0), thread ({thread}, 0, 0)")


def test_what_a_copy_brings_is_not_there_before_the_wait_in_the_fast_mode_either(x: Array) -> None:
    y = on_emulator(np.zeros(64, np.float32))
    with emulator.configured(checked=False):
        run(PLANTED / "faults.cu", "copied_over", x, y)
    # A thread waits after it has read: those that come later read what the others' waits have brought.
    expected = np.where(np.arange(64) < 32, np.nan, 63 - np.arange(64))
    np.testing.assert_array_equal(to_host(y), expected)


@pytest.mark.parametrize("order", ["forward", "reverse", 3])
@pytest.mark.parametrize(
    "entry", ["missing_barrier", "missing_second_barrier", "shift_in_place", "write_race", "shuffle_orders_nothing"]
)
def test_a_race_is_reported_in_any_order(entry: str, order: str | int, x: Array) -> None:
    with emulator.configured(order=order):
        text = message(entry, x, on_emulator(np.zeros(64, np.float32)))
    assert text.startswith((f"faults.cu:{entry}: race: ", f"faults.cu:{entry}: uninitialised read at "))


def test_a_race_between_blocks_names_both(x: Array) -> None:
    text = message("block_race", x, output(64), grid=(1, 3))
    line = fault_line("block_race")
    assert text == (
        f"faults.cu:block_race: race: writes element 0 of argument 1 (float*, 64 elements) at {line}; "
        f"thread (0, 0, 0) of block (0, 0, 0) has written it at {line}, and blocks run in any order, "
        "in block (0, 1, 0), thread (0, 0, 0)"
    )


def test_a_warp_barrier_does_not_order_two_warps(x: Array) -> None:
    with emulator.configured(order="forward"):
        text = message("warp_barrier_between_warps", x, output(64))
    assert text.startswith(
        "faults.cu:warp_barrier_between_warps: race: reads byte 252 of shared array `tile` (256 bytes) at "
        f"{fault_line('warp_barrier_between_warps')}; thread (31, 0, 0) of block (0, 0, 0) has written it"
    )
    assert text.endswith("thread (63, 0, 0)")


def test_unwritten_outputs_are_reported(x: Array) -> None:
    assert message("unwritten", x, output(64)) == (
        "faults.cu:unwritten: unwritten output: argument 1 (float*), 1 of 64 elements, the first is element 40; "
        "element 39 was written in block (0, 0, 0), thread (39, 0, 0)"
    )
    assert message("nothing_written", x, output(64)) == (
        "faults.cu:nothing_written: unwritten output: argument 1 (float*), 64 of 64 elements, the first is element 0; "
        "no thread wrote to this array, from block (0, 0, 0), thread (0, 0, 0) to block (0, 0, 0), thread (63, 0, 0)"
    )
    assert message("nothing_written", x, output(64), grid=(3, 2)).endswith("to block (2, 1, 0), thread (63, 0, 0)")


def test_an_output_that_held_values_before_may_be_left(x: Array) -> None:
    y = on_emulator(np.full(64, 7, np.float32))
    with emulator.configured(checked=True):
        run(PLANTED / "faults.cu", "unwritten", x, y)
    expected = np.arange(64)
    expected[40] = 7
    np.testing.assert_array_equal(to_host(y), expected)


@pytest.mark.parametrize("checked", [False, True])
def test_too_large_shared_arrays_are_reported(x: Array, checked: bool) -> None:
    assert message("too_large", x, output(64), checked=checked) == (
        "faults.cu:too_large: __shared__ arrays must have at most 49152 bytes; got 51200: tile has 51200, "
        "needed from block (0, 0, 0), thread (0, 0, 0) on"
    )


def test_too_much_dynamic_shared_memory_is_reported(x: Array) -> None:
    assert message("dynamic_pointer", x, output(64), shared=227 * 1024 + 1) == (
        "faults.cu:dynamic_pointer: dynamic shared memory must have from 0 to 232448 bytes; got 232449, "
        "needed from block (0, 0, 0), thread (0, 0, 0) on"
    )


@pytest.mark.parametrize(("real", "name"), [("float32", "float"), ("float64", "double")])
def test_reading_an_array_that_nothing_wrote_is_reported(real: str, name: str) -> None:
    given = output(64, dtype=real)
    given[:10] = 0
    assert message("copy", given, output(64, dtype=real), real=real) == (
        f"faults.cu:copy: uninitialised read at {fault_line('copy')}: nothing has written element 10 of argument 0 "
        f"(const {name}*, 64 elements), in block (0, 0, 0), thread (10, 0, 0)"
    )


def test_a_null_pointer_is_reported() -> None:
    text = message("copy", None, output(64))
    assert text.startswith(f"faults.cu:copy: read through a null pointer at {fault_line('copy')}")


def test_an_array_given_twice_is_one_array(x: Array) -> None:
    with emulator.configured(checked=True):
        run(PLANTED / "faults.cu", "copy", x, x)
    np.testing.assert_array_equal(to_host(x), np.arange(64))


def test_overlapping_views_overlap_in_the_checked_mode(x: Array) -> None:
    whole = on_emulator(np.arange(80, dtype=np.float32))
    text = message("copy", whole[:64], whole[16:])
    assert "copy: race: reads element 0 of argument 1 (float*, 64 elements)" in text


def test_copies_are_aligned_as_their_arrays() -> None:
    """Of arrays that overlap, too: which loads are wide is decided by how the arrays themselves lie."""
    whole = on_emulator(np.arange(80, dtype=np.float32))
    arrays = whole[1:60], whole[4:], on_emulator(np.arange(9, dtype=np.float32))[3:]
    copies = CheckedArguments(parse_signature("rrrfff"), arrays).addresses
    for array, copy in zip(arrays, copies, strict=True):
        assert copy is not None and copy % 256 == address(array) % 256 == array.ctypes.data % 256


def test_everything_works_after_an_error(x: Array) -> None:
    for checked in (False, True):
        message("barrier_in_half", x, output(64), checked=checked)
        y = output(64)
        with emulator.configured(checked=checked):
            run(PLANTED / "right.cu", "reverse", x, y)
            np.testing.assert_array_equal(to_host(y), np.arange(64)[::-1])
            run(PLANTED / "faults.cu", "copy", x, y)
            np.testing.assert_array_equal(to_host(y), np.arange(64))


def test_an_error_on_one_worker_stops_all(x: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator_kernel, "get_threads", lambda: 3)
    monkeypatch.setattr(emulator_kernel, "_WORTH_SPREADING", -1.0)
    text = message("barrier_in_half", x, output(64), checked=False, grid=1000)
    assert "divergent __syncthreads" in text
