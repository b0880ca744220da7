"""Threads that share a model: any may predict, one at a time may train it, or evaluate it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from gpunet.backend.locks import Lock

P = ParamSpec("P")
R = TypeVar("R")


class Turns:
    """Who trains or evaluates a model, whose metrics, gradients and graphs there are once; a copy is free."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.trainer: tuple[int, str] | None = None  # number and name of the thread that trains

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()

    def check(self, where: str) -> None:
        """RuntimeError if another thread trains the model."""
        trainer = self.trainer
        if trainer is not None and trainer[0] != threading.get_ident():
            raise RuntimeError(
                f"{where}: the model must be trained by one thread, and not be evaluated meanwhile; got a call while "
                f"thread {trainer[1]!r} trains it; wait until that has ended, or train a model for each thread"
            )


def trains(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method that trains its model: RuntimeError if another thread does; evaluations are waited for."""
    return _taking_turns(method, training=True)


def evaluates(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method that evaluates its model: one thread at a time, and none while another trains it."""
    return _taking_turns(method, training=False)


def _taking_turns(method: Callable[P, R], training: bool) -> Callable[P, R]:
    @wraps(method)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        model: Any = args[0]
        turns: Turns = model.turns
        turns.check(f"{model.where}.{method.__name__}")
        thread = threading.current_thread()
        with turns.lock:
            before = turns.trainer
            try:
                if training:
                    turns.trainer = threading.get_ident(), thread.name
                return method(*args, **kwargs)
            finally:
                turns.trainer = before

    return alone
