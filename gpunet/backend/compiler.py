"""The C++ compiler behind the `emulated` device: finding one that works, and compiled libraries cached by content."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gpunet.backend.locks import once
from gpunet.backend.sources import kernel_folder

_TRIAL = 'extern "C" double gpunet_trial(double x) { return __builtin_exp(x) + __builtin_fma(x, x, x); }\n'
_TIMEOUT = 600  # seconds

_FLAGS = (
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",  # a kernel says `fma` where it wants one
    "-fno-math-errno",  # this and the next allow what changes no result
    "-fno-trapping-math",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-stack-protector",
    "-fno-sanitize=undefined",  # ziglang's default
)
_FRAME_LIMIT = 32768  # bytes that a function may have on the stack; that of a CUDA thread has 64 KiB
_NATIVE = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
_FAST = ("-O2", "-ftree-vectorize", _NATIVE)
# The checked mode has calls before every access and on undefined behaviour, which kernels/emulator/callbacks.hpp
# answers; no vector instructions, whose accesses clang would leave out; and DWARF 4, which elf.py reads.
_CHECKED = (
    "-O1",
    "-g1",
    "-gdwarf-4",
    _NATIVE,
    "-fno-tree-vectorize",
    "-fno-tree-slp-vectorize",
    "-fsanitize=thread",
    "-fsanitize=shift,integer-divide-by-zero,unreachable,return,signed-integer-overflow,float-cast-overflow,bool",
)
_CHECKED_GCC = ("-fsanitize=bounds",)
# Clang's `bounds` includes checks that trap, and it would leave out a read before a write of the same place. (Before
# version 16 it leaves out copies of whole structs, whatever one asks for.)
_CHECKED_CLANG = (
    "-fsanitize=array-bounds",
    "-fno-sanitize-trap=undefined",
    "-mllvm",
    "-tsan-instrument-read-before-write=1",
)


@dataclass(frozen=True)
class Compiler:
    """A C++17 compiler that has been seen to work: how to call it, and what it is."""

    command: tuple[str, ...]
    description: str

    @property
    def is_clang(self) -> bool:
        return self.description.startswith("clang")

    @property
    def link_flags(self) -> tuple[str, ...]:
        """How to link: ziglang would first build a C library of its own, for a minute, where Python has one loaded."""
        return ("-shared", "-nostdlib") if "ziglang" in self.command else ("-shared",)


@once
def find_compiler() -> Compiler:
    """Return the compiler for emulated kernels: GPUNET_CXX, else c++, g++ or clang++, else the ziglang wheel's clang.

    Each candidate must compile a tiny library. RuntimeError, naming the ways to get one, where none does.
    """
    if os.name != "posix" or platform.machine() not in ("x86_64", "aarch64", "arm64"):
        machine = f"{platform.machine()} with {platform.system()}"
        raise RuntimeError(f"emulated: the emulator runs on x86-64 and aarch64 with Linux or macOS; this is {machine}")
    chosen = os.environ.get("GPUNET_CXX")
    failures = []
    for command in [tuple(shlex.split(chosen))] if chosen else _candidates():
        try:
            return _try_compiler(command)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            failures.append(f"{shlex.join(command)}: {' '.join(str(error).split())[:300]}")
    tried = "; tried " + "; ".join(failures) if failures else ""
    raise RuntimeError(
        "emulated: no C++17 compiler; install g++ or clang with the system's package manager, "
        f'or run pip install "gpunet[emulator]", or set GPUNET_CXX{tried}'
    )


def _candidates() -> Iterator[tuple[str, ...]]:
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path:
            yield (path,)
    if importlib.util.find_spec("ziglang"):
        yield (sys.executable, "-m", "ziglang", "c++")


def _try_compiler(command: tuple[str, ...]) -> Compiler:
    """Compile a tiny library with `command`; what came out is remembered until the compiler's file changes."""
    path = Path(shutil.which(command[0]) or command[0]).resolve()
    state = path.stat()
    key = _digest(*command, str(path), str(state.st_mtime_ns), str(state.st_size), _ziglang_version(command))
    record = cache_folder() / f"compiler-{key}.json"
    with contextlib.suppress(OSError, ValueError):
        return Compiler(command, str(json.loads(record.read_text(encoding="utf-8"))["description"]))
    compiler = Compiler(command, _describe(command))
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        trial = Path(folder) / "trial.so"
        _link(compiler, [_compile(compiler, "trial.cpp", _TRIAL, _FAST, Path(folder))], trial)
        load(trial)
    text = json.dumps({"description": compiler.description})

    def write(target: Path, folder: Path) -> None:
        target.write_text(text, encoding="utf-8")

    _cached(record.name, write)
    return compiler


def _ziglang_version(command: tuple[str, ...]) -> str:
    if "ziglang" not in command:
        return ""
    from importlib import metadata  # here, because it takes long to import

    return metadata.version("ziglang")


def _describe(command: tuple[str, ...]) -> str:
    version = _run([*command, "--version"])
    number = re.search(r"\d+\.\d+(\.\d+)?", version)
    name = "clang" if "clang" in version else "g++"
    return f"{name} {number[0] if number else '?'}{' (ziglang)' if 'ziglang' in command else ''}"


def build(
    compiler: Compiler, name: str, text: str, entries: Mapping[str, str], options: tuple[str, ...], checked: bool
) -> Path:
    """Return the library of kernel `text`, called `name` in messages, from the cache or compiled now.

    `entries` are its kernels with their launch bounds. RuntimeError with the compiler's message if it does not compile.
    """
    text += "".join(f"EMULATOR_ENTRY({entry}, {bounds})\n" for entry, bounds in entries.items())
    flags = (*_mode_flags(compiler, checked), *options)
    key = _key(compiler, *flags, text)

    def make(target: Path, folder: Path) -> None:
        include = (f"-I{_emulator_folder()}", "-include", "emulator.hpp")
        try:
            kernel = _compile(compiler, f"{name}.cpp", text, (*flags, *include), folder)
        except RuntimeError as error:
            raise RuntimeError(f"{name}: the kernel does not compile with {compiler.description}:\n{error}") from None
        _link(compiler, [kernel, _runtime(compiler, checked)], target)

    return _cached(f"{Path(name).stem}-{key}.so", make)


def _mode_flags(compiler: Compiler, checked: bool) -> tuple[str, ...]:
    if not checked:
        return _FAST
    return (*_CHECKED, *(_CHECKED_CLANG if compiler.is_clang else _CHECKED_GCC))


def _runtime(compiler: Compiler, checked: bool) -> Path:
    """Return the object file of what runs kernels, common to all of them."""
    flags = (*_FAST, "-DEMULATOR_CHECKED") if checked else _FAST
    key = _key(compiler, *flags)

    def make(target: Path, folder: Path) -> None:
        include = f"-I{_emulator_folder()}"
        _compile(compiler, "emulator.cpp", '#include "runtime.cpp"\n', (*flags, include), folder).replace(target)

    return _cached(f"runtime-{key}.o", make)


def _key(compiler: Compiler, *texts: str) -> str:
    return _digest(compiler.description, *compiler.command, cpu(), *_FLAGS, _emulator_text(), *texts)


def load(path: Path) -> ctypes.CDLL:
    """Load a library that `build` made."""
    _load_mathematics()
    return ctypes.CDLL(str(path))


@cache
def _load_mathematics() -> None:
    """Make the C library's mathematical functions visible to libraries that were linked without naming it."""
    with contextlib.suppress(OSError):  # elsewhere than in glibc they are part of the C library
        ctypes.CDLL("libm.so.6", mode=ctypes.RTLD_GLOBAL)


def _cached(name: str, make: Callable[[Path, Path], None]) -> Path:
    """Return file `name` of the cache; if it is not there, have it made in a scratch folder and moved into place.

    Moving is atomic: of two processes that make the same file at once, either one's is complete and right.
    """
    path = cache_folder() / name
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="making-") as folder:
            target = Path(folder) / name
            make(target, Path(folder))
            target.replace(path)
    return path


def _compile(compiler: Compiler, name: str, text: str, flags: tuple[str, ...], folder: Path) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    limit = [f"-Wframe-larger-than={_FRAME_LIMIT}", "-Werror=frame-larger-than"]
    if not compiler.is_clang:  # g++ wants the number in both
        limit[1] += f"={_FRAME_LIMIT}"
    _run([*compiler.command, *_FLAGS, *limit, *flags, "-c", name, "-o", f"{name}.o"], folder)
    return folder / f"{name}.o"


def _link(compiler: Compiler, objects: list[Path], target: Path) -> None:
    _run([*compiler.command, *compiler.link_flags, *map(str, objects), "-o", str(target)], target.parent)


def _run(command: list[str], folder: Path | None = None) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        environment.setdefault(name, str(cache_folder() / "zig"))
    done = subprocess.run(  # in a process group of its own: the terminal's Ctrl-C is ours, not the compiler's
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
        process_group=0,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout


@once
def cache_folder(part: str = "emulator") -> Path:
    """Return a folder for what is kept: in GPUNET_CACHE, else in gpunet in the user's cache folder, else a temporary.

    `part` is what lies there, 'emulator' for compiled kernels.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("GPUNET_CACHE") or Path(home) / "gpunet") / part
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        substitute = tempfile.mkdtemp(prefix="gpunet-")
        atexit.register(shutil.rmtree, substitute, ignore_errors=True)
        return Path(substitute)


@cache
def cpu() -> str:
    """Return what tells this machine's processor from others, because `-march=native` code may not run on those."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if re.match(r"model name|flags|Features|CPU (impl|part)", line))
    return f"{platform.machine()} {platform.processor()}"


def _emulator_folder() -> Path:
    return kernel_folder() / "emulator"


@cache
def _emulator_text() -> str:
    files = sorted(path for path in _emulator_folder().iterdir() if path.suffix in (".hpp", ".cpp"))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]
