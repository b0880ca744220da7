"""Life as a user: what a fresh process pays before and while it trains. `python -m bench.life NAME DEVICE THREADS`.

As a script it does what a first script does, import the library, build cnn50 and train one step of batch 128, and
prints a line when the step is finished; then it trains some more and prints the peak of its memory.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.rivals import GPUNET, RIVALS, Library

BATCH = 128
_MORE_STEPS = 5
_FOLDER = Path(__file__).parents[1]

# One way of using each library, and what its users import.
_IMPORTS: Mapping[str, str] = {
    "gpunet": "from gpunet import Sequential",  # `import gpunet` by itself imports next to nothing
    "PyTorch": "import torch",
    "Keras on TensorFlow": "import keras",
    "Keras on JAX": "import keras",
    "JAX": "import jax",
}
LIBRARIES = tuple(library for library in (GPUNET, *RIVALS) if library.name in _IMPORTS)


def import_seconds(library: Library) -> float:
    """Return the seconds that importing the library adds to a Python process."""
    return _process_seconds(_IMPORTS[library.name], library) - _process_seconds("pass", library)


def _process_seconds(code: str, library: Library) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **library.environment}, cwd=_FOLDER)
    return time.perf_counter() - start


def first_step(library: Library, device: str, threads: int, caches: Path) -> tuple[float, dict[str, int]]:
    """Return the seconds from the start of a process to the end of its first step, and its peaks of memory in bytes.

    Compiled kernels are kept in the folder `caches`. RuntimeError with the process's last words if it fails.
    """
    environment = {
        **os.environ,
        **library.environment,
        "GPUNET_CACHE": str(caches / "gpunet"),
        "CUPY_CACHE_DIR": str(caches / "cupy"),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-m", "bench.life", library.name, device, str(threads)]
    start = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, cwd=_FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        rest, errors = process.communicate()
    if process.returncode or not line.startswith("step"):
        last = errors.strip().splitlines()[-1:] or ["nothing on stderr"]
        raise RuntimeError(f"exit {process.returncode}: {last[0]}")
    return seconds, json.loads(rest)


def installed_bytes(library: Library, device: str) -> int:
    """Return the size of all files of the library's packages and of those that they require on `device`.

    KeyError if one has no package here that tells of its files, as a library that runs from a checkout.
    """
    packages = importlib.metadata.packages_distributions()
    absent = [module for module in library.requires if module not in packages]
    if absent:
        raise KeyError(f"{', '.join(absent)} is not an installed package")
    waiting = [name for module in library.requires for name in packages[module]]
    found: set[str] = set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement of other systems
        found.add(name)
        waiting += _requirements(distribution, device)
    return sum(_bytes(name) for name in found)


def _requirements(distribution: importlib.metadata.Distribution, device: str) -> Iterator[str]:
    """Yield the names of what a package requires without any extra, and on a GPU for its extras named after CUDA."""
    for requirement in distribution.requires or ():
        name, _, marker = requirement.partition(";")
        if "extra ==" not in marker or (device == "cuda" and "cuda" in marker):
            yield re.split(r"[\s<>=!~\[(]", name.strip(), maxsplit=1)[0]


def _bytes(name: str) -> int:
    files = importlib.metadata.distribution(name).files
    if files is None:
        raise KeyError(f"{name} has no list of files")
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())


def _peak_memory() -> int:
    """Return the most bytes that this process has had in memory."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss would begin with what the parent had when it started this process
        kilobytes = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        assert kilobytes is not None
        return int(kilobytes[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def main() -> None:
    """Train a first step, say so, train more, and print the peaks of memory."""
    name, device, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    library = next(library for library in LIBRARIES if library.name == name)
    side = importlib.import_module(library.module).SIDE(library.mode, device, threads)
    from bench.cases import CASES

    train, _ = side.network("cnn50", CASES[f"training_step[cnn50-{BATCH}]"].data())
    train()
    print("step", flush=True)
    for _ in range(_MORE_STEPS):
        train()
    peaks = {"process": _peak_memory()}
    on_device = side.device_memory()
    if on_device is not None:
        peaks["device"] = on_device
    print(json.dumps(peaks))


if __name__ == "__main__":
    main()
