"""Actions in threads of their own from one moment on, and Python changing between them as often as it can."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

THREADS = 8


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Let Python change between threads a thousand times as often as it does by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """Call all `actions`, each in a thread of its own, from one moment on; return what they return."""
    results: list[Any] = [None] * len(actions)
    errors: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def run(number: int, action: Callable[[], Any]) -> None:
        try:
            start.wait(60)
            results[number] = action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=item, name=f"test-{item[0]}") for item in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return results


def assert_all_same(results: list[Any], expected: Any) -> None:
    for result in results:
        assert np.asarray(result).tobytes() == np.asarray(expected).tobytes()
