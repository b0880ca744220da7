"""Locks that survive a fork, and values that are made once even if several threads want them at the same time."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable
from functools import update_wrapper
from typing import Any, Generic, TypeVar

R = TypeVar("R")

_ReentrantLock: Any = type(threading.RLock())


def in_child(action: Callable[[], None]) -> Callable[[], None]:
    """Decorate a function that a forked child calls before it goes on: no thread of the parent's lives there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)
    return action


class Lock(_ReentrantLock):  # type: ignore[misc]
    """A lock that its owner may take again, that a forked child finds free, and that is new in a copy of its holder.

    Entering it is one instruction of C, so that Ctrl-C cannot come between taking it and knowing that it is taken.
    """

    def __init__(self) -> None:
        _every.add(self)

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()


_every: weakref.WeakSet[Lock] = weakref.WeakSet()


@in_child
def _free_all() -> None:
    for lock in list(_every):
        lock._at_fork_reinit()


class Once(Generic[R]):
    """A function whose results are kept: made by the first thread that wants one, while others wait for it."""

    def __init__(self, function: Callable[..., R]) -> None:
        self._function = function
        self._made: dict[Hashable, R] = {}
        self._locks: dict[Hashable, Lock] = {}
        update_wrapper(self, function)

    def __call__(self, *arguments: Hashable) -> R:
        try:
            return self._made[arguments]
        except KeyError:
            lock = self._locks.setdefault(arguments, Lock())
        with lock:
            if arguments not in self._made:
                self._made[arguments] = self._function(*arguments)
            return self._made[arguments]

    def cache_clear(self) -> None:
        """Forget all results."""
        self._made.clear()


def once(function: Callable[..., R]) -> Once[R]:
    """Decorate a function of hashable arguments: see `Once`. (Of `functools.cache`, each thread would make its own.)"""
    return Once(function)
