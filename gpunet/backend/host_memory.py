"""How much memory the host has, and has left for this process: the least of what the system and limits on it say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_MEMINFO = Path("/proc/meminfo")
_STATM = Path("/proc/self/statm")
_CGROUP = Path("/sys/fs/cgroup")


def free_and_total() -> tuple[int | None, int | None]:
    """Return the bytes that this process can still get, and all that there are for it; None where nobody tells."""
    known = [*_of_the_system(), *_of_the_address_space(), *_of_the_control_group()]
    if not known:
        return None, None
    return max(0, min(free for free, _ in known)), min(total for _, total in known)


def _of_the_system() -> Iterator[tuple[int, int]]:
    with suppress(OSError, ValueError, KeyError, IndexError):
        lines = (line.partition(":") for line in _MEMINFO.read_text(encoding="ascii").splitlines())
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in lines}
        yield 1024 * kilobytes["MemAvailable"], 1024 * kilobytes["MemTotal"]
        return
    with suppress(AttributeError, ValueError, OSError):
        page = os.sysconf("SC_PAGE_SIZE")
        yield page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")


def _of_the_address_space() -> Iterator[tuple[int, int]]:
    """RLIMIT_AS, which `ulimit -v` sets."""
    if resource is None:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError, IndexError):
        used = int(_STATM.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        if limit != resource.RLIM_INFINITY:
            yield limit - used, limit


def _of_the_control_group() -> Iterator[tuple[int, int]]:
    """The limit on a container, in version 2 of control groups, as seen from inside it."""
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))  # ValueError for 'max'
        yield limit - int((_CGROUP / "memory.current").read_text(encoding="ascii")), limit
