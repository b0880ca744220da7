"""Compile kernels for GPUs that are not here, with NVIDIA's runtime compiler, and read what they need.

NVRTC comes as a wheel and needs neither a GPU nor a driver. It is given the same text and options as on a GPU, those
that CuPy adds included, and reports through ptxas's `-v` the registers, spills and memory of each kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bench.architectures import ARCHITECTURES, REGISTERS_OF_A_THREAD
from gpunet.backend.launch import NVRTC_OPTIONS

_CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")

_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^;{]*?\)\s*)?(?=(\w+)\s*\()')
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Needs:
    """What one kernel needs: registers a thread, bytes spilled by a thread, bytes of static shared memory a block."""

    registers: int
    spilled: int
    shared: int


class Compiled(NamedTuple):
    """Machine code for one architecture, in NVIDIA's object format, and what each kernel in it needs."""

    cubin: bytes
    needs: dict[str, Needs]


def unavailable() -> str | None:
    """Return why NVRTC cannot be used here, or None if it can."""
    try:
        from cuda.bindings import nvrtc

        _check(nvrtc.nvrtcVersion())
    except ImportError:
        return "NVRTC is not installed; install gpunet[test] (on Linux or Windows)"
    except Exception as error:  # a missing library shows itself by errors of several types
        return f"NVRTC does not work: {error}"
    return None


def only(code: str, entries: set[str]) -> str:
    """Return `code` with the kernels that are not among `entries` made functions that nobody calls.

    Most of the time goes into the kernels' machine code, and a configuration is seldom asked for by all of a file's.
    """
    return _KERNEL.sub(lambda match: match[0] if match[1] in entries else "static __device__ void ", code)


def compile_for(architecture: int, code: str, options: tuple[str, ...]) -> Compiled:
    """Compile `code` for sm_`architecture`; AssertionError with the log if that fails."""
    from cuda.bindings import nvrtc

    every = (f"-arch=sm_{architecture}", *NVRTC_OPTIONS, *options, *_CUPY_OPTIONS, "--ptxas-options=-v")
    (program,) = _check(nvrtc.nvrtcCreateProgram(code.encode(), b"kernel.cu", 0, [], []))
    try:
        (result,) = nvrtc.nvrtcCompileProgram(program, len(every), [option.encode() for option in every])
        (size,) = _check(nvrtc.nvrtcGetProgramLogSize(program))
        buffer = bytes(size)
        _check(nvrtc.nvrtcGetProgramLog(program, buffer))
        log = buffer.rstrip(b"\0 \n").decode()
        assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS, f"sm_{architecture}: {result.name}\n{log}"
        (size,) = _check(nvrtc.nvrtcGetCUBINSize(program))
        cubin = bytes(size)
        _check(nvrtc.nvrtcGetCUBIN(program, cubin))
    finally:
        _check(nvrtc.nvrtcDestroyProgram(program))
    return Compiled(cubin, _read(log))


def _check(answer: Any) -> tuple[Any, ...]:
    """Return the values of an NVRTC call without its status; RuntimeError if that is not success."""
    status, *values = answer
    if status.value != 0:
        raise RuntimeError(f"NVRTC: {status.name}")
    return tuple(values)


def _read(log: str) -> dict[str, Needs]:
    """Read ptxas's report: a block of lines for each entry function, in which spills come before registers."""
    found: dict[str, Needs] = {}
    entry = ""
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            entry = match[1]
            found[entry] = Needs(registers=-1, spilled=-1, shared=0)
        elif match := _SPILLS.search(line):
            found[entry] = replace(found[entry], spilled=int(match[2]) + int(match[3]))
        elif match := _USED.search(line):
            shared = _SHARED.search(line)
            found[entry] = replace(found[entry], registers=int(match[1]), shared=int(shared[1]) if shared else 0)
    unread = [name for name, needs in found.items() if needs.registers < 0 or needs.spilled < 0]
    assert found and not unread, f"ptxas's report was not understood: {unread or log}"
    return found


def faults(architecture: int, needs: Needs, threads: int, shared_bytes: int) -> list[str]:
    """Return what keeps a launch with blocks of `threads` and `shared_bytes` of dynamic memory from running well."""
    known, shared = ARCHITECTURES[architecture], needs.shared + shared_bytes
    rules = [
        (needs.spilled > 0, f"spills {needs.spilled} bytes a thread"),
        (needs.registers > REGISTERS_OF_A_THREAD, f"uses {needs.registers} registers a thread"),
        (
            known.resident_blocks(threads, needs.registers, 0) == 0,
            f"uses {needs.registers} registers a thread of a block of {threads}",
        ),
        (shared > known.shared_of_a_block, f"uses {shared} bytes of shared memory a block"),
    ]
    return [f"sm_{architecture}: {text}" for broken, text in rules if broken]
