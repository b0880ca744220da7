"""Every kernel file compiles and fits for seven GPU generations, as it was asked for by this session's tests.

conftest.py puts this file last. When only a part of the suite runs, a step of a small network is trained first, so
that there is something to compile.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpunet
from bench import nvrtc
from bench.architectures import ARCHITECTURES
from gpunet.backend import devices, launch
from gpunet.backend.arrays import EMULATED
from gpunet.backend.sources import kernel_files, source

_WHY_NOT = nvrtc.unavailable()
pytestmark = pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))

# All of it for all seven takes a quarter of an hour. So each takes a seventh of a file's configurations, unless this
# variable is set.
_EVERYTHING = "GPUNET_TEST_EVERY_ARCHITECTURE"

SPILLING = r"""
extern "C" __global__ void __launch_bounds__(1024, 2) spilling(REAL* y, const REAL* x) {
    REAL a[64];
    #pragma unroll
    for (int i = 0; i < 64; i++) a[i] = x[i * blockDim.x + threadIdx.x];
    for (int turn = 0; turn < 100; turn++) {
        #pragma unroll
        for (int i = 0; i < 64; i++) a[i] = fma(a[i], a[(i * 7 + 3) % 64], x[turn + i]);
    }
    #pragma unroll
    for (int i = 0; i < 64; i++) y[i * blockDim.x + threadIdx.x] = a[i];
}
extern "C" __global__ void sharing(REAL* y) {
    __shared__ REAL tile[256];
    tile[threadIdx.x] = y[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[255 - threadIdx.x];
}
"""


@pytest.fixture(scope="module")
def asked(launched: set[launch.Launch]) -> dict[tuple[str, tuple[str, ...]], set[launch.Launch]]:
    """All launches of this session, by kernel file and compiler options."""
    if devices.examine(EMULATED).usable and len({entry.file for entry in launched}) < 5:
        _train_a_step()
        launched = launch.launched
    groups: dict[tuple[str, tuple[str, ...]], set[launch.Launch]] = defaultdict(set)
    for entry in launched:
        if entry.file in kernel_files():
            groups[entry.file, entry.options].add(entry)
    if not groups:
        pytest.skip("no kernel was launched in this session")
    return groups


def _train_a_step() -> None:
    with gpunet.device("emulated"):
        model = gpunet.Sequential(
            [
                gpunet.layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 1)),
                gpunet.layers.MaxPooling2D(),
                gpunet.layers.Dropout(0.5),
                gpunet.layers.Flatten(),
                gpunet.layers.Dense(10, activation="softmax"),
            ]
        )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.train_on_batch(np.ones((4, 8, 8, 1), np.float32), np.arange(4))


def _share(architecture: int, configurations: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the configurations, sorted by file, that `architecture` takes: at least one of each file."""
    place = list(ARCHITECTURES).index(architecture)
    of_files = [list(some) for _, some in itertools.groupby(configurations, key=lambda one: one[0])]
    shares = [some[place :: len(ARCHITECTURES)] or some[:1] for some in of_files]
    return [one for some in shares for one in some]


def test_every_configuration_is_compiled_for_an_architecture_and_every_file_for_all() -> None:
    given = [(file, (str(number),)) for file, count in (("a.cu", 23), ("b.cu", 1)) for number in range(count)]
    shares = {architecture: _share(architecture, given) for architecture in ARCHITECTURES}
    assert {sum(one in share for share in shares.values()) for one in given[:-1]} == {1}
    assert all(given[-1] in share and any(file == "a.cu" for file, _ in share) for share in shares.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_configuration_compiles_and_fits(
    architecture: int, asked: dict[tuple[str, tuple[str, ...]], set[launch.Launch]]
) -> None:
    def examine(configuration: tuple[str, tuple[str, ...]]) -> list[str]:
        file, options = configuration
        entries = {entry.entry for entry in asked[configuration]}
        try:
            needs = nvrtc.compile_for(architecture, nvrtc.only(source(file), entries), options).needs
        except AssertionError as error:
            return [f"{file} {' '.join(options)}: {error}"]
        return [
            f"{file}:{entry.entry} {' '.join(options)}: {fault}"
            for entry in sorted(asked[configuration])  # KeyError if one was not compiled
            for fault in nvrtc.faults(architecture, needs[entry.entry], entry.threads, entry.shared_bytes)
        ]

    configurations = sorted(asked) if os.environ.get(_EVERYTHING) else _share(architecture, sorted(asked))
    # NVRTC runs outside Python's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = [fault for some in pool.map(examine, configurations) for fault in some]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_planted_spill_is_seen(architecture: int) -> None:
    needs = nvrtc.compile_for(architecture, SPILLING, ("-DREAL=double",)).needs
    (fault,) = nvrtc.faults(architecture, needs["spilling"], 1024, 0)
    assert fault.startswith(f"sm_{architecture}: spills ")
    assert nvrtc.faults(architecture, needs["sharing"], 256, 0) == []
    assert needs["sharing"].shared == 256 * 8


def test_a_planted_error_is_seen_with_its_line() -> None:
    with pytest.raises(AssertionError, match=r"(?s)sm_80: NVRTC_ERROR_COMPILATION.*planted\.cu\(2\).*misspelt"):
        nvrtc.compile_for(80, '#line 1 "planted.cu"\nextern "C" __global__ void k(float* y) {\n*y = misspelt; }\n', ())


@pytest.mark.parametrize(
    "registers, threads, shared, expected",
    [
        (255, 256, 0, []),
        (256, 32, 0, ["uses 256 registers a thread"]),
        (64, 1024, 0, []),
        (65, 1024, 0, ["uses 65 registers a thread of a block of 1024"]),
        (129, 481, 0, ["uses 129 registers a thread of a block of 481"]),
        (32, 256, 98 * 1024, []),
        (32, 256, 99 * 1024, ["uses 102400 bytes of shared memory a block"]),
    ],
)
def test_limits(registers: int, threads: int, shared: int, expected: list[str]) -> None:
    needs = nvrtc.Needs(registers, spilled=0, shared=1024)
    assert nvrtc.faults(86, needs, threads, shared) == [f"sm_86: {text}" for text in expected]
