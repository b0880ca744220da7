"""What each op call of a step does, and how long it takes: recorded while somebody asks, at next to no cost else.

    with recording(clock_of(device)) as trace:
        step.train(x, y)
    for call in trace.calls: ...

`op` marks the public ops. It says what work a call is, and chooses nothing: with no trace active a marked op is the op
itself, behind one look at a variable. Layers, losses and the like say by `layer` and `part` on whose behalf ops run. An
`Observer` of another kind sees what they give instead: y, dx and the loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from inspect import BoundArguments, signature
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from gpunet.backend.arrays import Array, Shape, is_array
from gpunet.backend.clock import Clock

P = ParamSpec("P")
R = TypeVar("R")
Backward: TypeAlias = Callable[[Any], Any]
Forward: TypeAlias = tuple[Any, Backward]
Pass: TypeAlias = str

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"  # the passes of a training step


class Call(NamedTuple):
    """One call of an op: the least flop and bytes that it needs, and the marks of a clock around it.

    `layer` is the path of the layer that ran it, or one of 'loss', 'metrics', 'optimizer' and 'data'.
    """

    op: str
    layer: str
    direction: Pass
    shapes: tuple[Shape, ...]
    flops: int
    bytes: int
    begin: Any
    end: Any


class Observer:
    """What looks on while one thread runs a step: it knows the place, and may see ops and what layers give.

    `_place` is the path of the running layer, or the name of another part of the step, and the pass.
    """

    def __init__(self) -> None:
        self._place: tuple[str, Pass] = ("data", FORWARD)
        self._named = False  # whether the place is a layer, inside which others may be

    @contextmanager
    def at(self, name: str, direction: Pass, is_layer: bool) -> Iterator[None]:
        """Charge the ops inside this `with` block to `name`; a layer inside a layer is charged by its path."""
        before = self._place, self._named
        self._place = (f"{self._place[0]}/{name}" if is_layer and self._named else name), direction
        self._named = is_layer
        try:
            yield
        finally:
            self._place, self._named = before

    def run(self, work: _Work, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """Call an op."""
        return function(*args, **kwargs)

    def layer(self, name: str, run: Callable[..., Forward], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward:
        """Run a layer, which gives (y, backward); what either gives is seen."""
        with self.at(name, FORWARD, is_layer=True):
            y, backward = run(*args, **kwargs)
            self._see_each(y)
        return y, _traced_backward(name, backward)

    def _see_each(self, arrays: Any) -> None:
        for array in arrays if isinstance(arrays, list) else [arrays]:
            self.see(array)

    def see(self, array: Array | None) -> None:
        """Take note of what the layer at this place gave, y or dx, or of a result of another part of the step."""


class Trace(Observer):
    """The calls of ops in one thread, in order, and the time that recording them took."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.own_seconds = 0.0
        self._clock = clock
        self._running = False

    def run(self, work: _Work, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """Call an op and record it; one that another op calls is part of that."""
        if self._running:
            return function(*args, **kwargs)
        entered = time.perf_counter()
        self._running = True
        try:
            begin = self._clock.mark()
            called = time.perf_counter()
            result = function(*args, **kwargs)
            returned = time.perf_counter()
            end = self._clock.mark()
        finally:
            self._running = False
        given = work.bind(args, kwargs)
        shapes = tuple(value.shape for value in given.arguments.values() if is_array(value))
        flops, touched = work.flops(given), work.bytes(given, result)
        self.calls.append(Call(work.name, *self._place, shapes, flops, touched, begin, end))
        self.own_seconds += called - entered + time.perf_counter() - returned
        return result

    def seconds(self, call: Call) -> float:
        """Return how long a call took."""
        return self._clock.seconds(call.begin, call.end)


_active: ContextVar[Observer | None] = ContextVar("gpunet_trace", default=None)


@dataclass
class _Work:
    """What an op says of its calls."""

    function: Callable[..., Any]
    flop_counter: Callable[..., int]
    changes: frozenset[str]
    unread: Callable[[Mapping[str, Any]], tuple[str, ...]]
    traffic: Callable[..., int] | None

    def __post_init__(self) -> None:
        self.name = self.function.__name__
        self._signature = signature(self.function)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound

    def flops(self, given: BoundArguments) -> int:
        return int(self.flop_counter(*given.args, **given.kwargs))

    def bytes(self, given: BoundArguments, result: object) -> int:
        if self.traffic is not None:
            return int(self.traffic(*given.args, **given.kwargs))
        unread = self.unread(given.arguments)
        results = result if isinstance(result, tuple) else (result,)
        touched = [value for name, value in given.arguments.items() if is_array(value) and name not in unread]
        each_once = {id(array): array.nbytes for array in (*touched, *results) if is_array(array)}
        written_too = (given.arguments[name] for name in self.changes)
        return int(sum(each_once.values()) + sum(array.nbytes for array in written_too if array is not None))


def _reads_all(given: Mapping[str, Any]) -> tuple[str, ...]:
    return ()


def op(
    flops: Callable[..., int],
    *,
    changes: tuple[str, ...] = (),
    unread: Callable[[Mapping[str, Any]], tuple[str, ...]] = _reads_all,
    traffic: Callable[..., int] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function as an op whose calls a trace records.

    `flops` returns, for the op's own arguments, the additions, products and comparisons that its mathematics needs; a
    multiply-add is two, a root or an exponential one, and what is done once a row or once a call is left out. Bytes
    are those of every array argument and every returned array once; arrays in `changes`, which are read and written in
    place, count twice, and those that `unread` names, for the arguments by name, not at all. An op to
    which none of this applies gives the bytes for its own arguments by `traffic`.
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        work = _Work(function, flops, frozenset(changes), unread, traffic)

        @wraps(function)
        def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            observer = _active.get()
            if observer is None:
                return function(*args, **kwargs)
            return observer.run(work, function, args, kwargs)

        traced.work = work  # type: ignore[attr-defined]
        return traced

    return mark


def is_op(function: object) -> bool:
    """Tell whether `function` is marked as an op."""
    return isinstance(getattr(function, "work", None), _Work)


def flops_of(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> int:
    """Return the flop of a call of an op, without the call.

    >>> from gpunet.ops.arithmetic import scale
    >>> flops_of(scale, np.zeros((3, 4)), 2.0)
    12
    """
    work: _Work = function.work  # type: ignore[attr-defined]
    return work.flops(work.bind(args, kwargs))


@contextmanager
def recording(clock: Clock) -> Iterator[Trace]:
    """Record the ops that this thread calls inside a `with` block."""
    trace = Trace(clock)
    with observed(trace):
        yield trace


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Let `observer` look on while this thread runs what is inside a `with` block."""
    token = _active.set(observer)
    try:
        yield
    finally:
        _active.reset(token)


def show(array: Array) -> None:
    """Let the observer, if there is one, see a result of a part of the step that is no layer."""
    observer = _active.get()
    if observer is not None:
        observer.see(array)


def part(name: str, direction: Pass = FORWARD) -> AbstractContextManager[None]:
    """Return a context whose ops are charged to `name`, a part of the step that is no layer."""
    observer = _active.get()
    return nullcontext() if observer is None else observer.at(name, direction, is_layer=False)


def layer(name: str, run: Callable[P, tuple[Any, Backward]], *args: P.args, **kwargs: P.kwargs) -> tuple[Any, Backward]:
    """Return run(*args), which is (y, backward), with the ops of both charged to layer `name`."""
    observer = _active.get()
    return run(*args, **kwargs) if observer is None else observer.layer(name, run, args, kwargs)


def _traced_backward(name: str, backward: Backward) -> Backward:
    def traced(dy: Any) -> Any:
        observer = _active.get()
        if observer is None:
            return backward(dy)
        with observer.at(name, BACKWARD, is_layer=True):
            dx = backward(dy)
            observer._see_each(dx)
            return dx

    return traced
