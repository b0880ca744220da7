"""Random numbers: one seed, and streams of NumPy's Philox keyed by (seed, purpose, step).

A stream is `numpy.random.Generator(numpy.random.Philox(key=[seed, purpose], counter=[0, 0, 0, step]))`; anyone can
draw the same numbers with NumPy alone. `purpose` is a `Purpose` plus 256 times the number of the drawing object (the
third initializer, the second dropout layer), `step` counts the draws of that object. Philox is Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3", in its 4x64 form with ten rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

import numpy as np

from gpunet import arguments, changes
from gpunet.backend.arrays import Array, Device, assign, device_of, to_device, to_host
from gpunet.backend.locks import Lock


class Purpose(IntEnum):
    """What a stream is drawn for; a stream of one purpose never meets a stream of another."""

    INITIALIZER = 1
    SHUFFLE = 2
    DROPOUT = 3
    DATASET = 4
    AUGMENTATION = 5


_SEED_LIMIT = 2**63


class _State:
    """A seed, and how many objects have asked for a stream under it, by purpose."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.counts = dict.fromkeys(Purpose, 0)
        self.lock = Lock()


_state = _State()
_local: ContextVar[_State | None] = ContextVar("gpunet_random", default=None)


class Stream:
    """The random numbers of one object: `step` grows with every draw, and is all there is to save and restore.

    Where kernels draw, `step` lies in the device's memory (`counter_on`), so that a captured CUDA graph, which runs the
    same launches again, draws other numbers each time.
    """

    def __init__(self, seed: int, purpose: int, step: int = 0) -> None:
        self.seed = seed
        self.purpose = purpose
        self._step = step
        self._counter: Array | None = None  # instead of _step, once there is one

    @property
    def step(self) -> int:
        """The number of draws so far."""
        return self._step if self._counter is None else int(to_host(self._counter)[0])

    @step.setter
    def step(self, value: int) -> None:
        self._step = value
        if self._counter is not None:
            assign(self._counter, np.array([value]))

    @property
    def state(self) -> tuple[int, int, int]:
        """Everything that decides the draws to come: (seed, purpose, step)."""
        return self.seed, self.purpose, self.step

    @state.setter
    def state(self, value: Sequence[int]) -> None:
        if len(value) != 3 or not all(isinstance(number, int) and 0 <= number < _SEED_LIMIT for number in value):
            raise ValueError(f"state of a stream must be three integers from 0 to 2**63 - 1; got {value!r}")
        self.seed, self.purpose, self.step = value
        changes.note("a random stream's seed")

    def counter_on(self, device: Device) -> Array:
        """Return the step as int64 (1,) on `device`; who draws there adds 1 to it."""
        if self._counter is None or device_of(self._counter) != device:
            self._counter = to_device(np.array([self.step]), device)
        return self._counter

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return self.state == other.state

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Stream(seed={self.seed}, purpose={self.purpose}, step={self.step})"

    def next_key(self) -> tuple[int, int, int]:
        """Return (seed, purpose, step) for one draw and move on to the next step."""
        key = self.state
        self.step += 1
        return key

    def next_generator(self) -> np.random.Generator:
        """Return NumPy's generator for one draw and move on to the next step."""
        return generator(*self.next_key())


def generator(seed: int, purpose: int, step: int) -> np.random.Generator:
    """Return NumPy's generator for one draw of the stream (seed, purpose) at `step`."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, step]))


def set_random_seed(seed: int) -> None:
    """Set the seed of all streams made from now on, and start counting them anew.

    Without this call the seed is 0: a program that says nothing about seeds gives the same bits at every run. The seed
    is that of every thread; inside a block of `random_seed` it is the block's that is set.
    """
    seed = check_seed("set_random_seed", seed)
    state = _local.get() or _state
    with state.lock:
        state.seed = seed
        state.counts = dict.fromkeys(Purpose, 0)


@contextmanager
def random_seed(seed: int) -> Iterator[None]:
    """Make all streams inside a `with` block, in this thread, from `seed`, counted anew; the global seed stays.

    Layers, initializers and the shuffles of `fit` ask for streams one after the other, so that under the global seed
    threads which build or fit at the same time get each other's by chance. With a block of its own a thread gives the
    same bits whatever the others do. TypeError or ValueError unless `seed` is an integer from 0 to 2**63 - 1.

    >>> with random_seed(7):
    ...     new_stream(Purpose.SHUFFLE)
    Stream(seed=7, purpose=2, step=0)
    """
    token = _local.set(_State(check_seed("random_seed", seed)))
    try:
        yield
    finally:
        _local.reset(token)


def random_state() -> dict[str, int]:
    """Return the seed, and by purpose how many streams were made under it: what decides the streams to come."""
    state = _local.get() or _state
    with state.lock:
        return {"seed": state.seed} | {purpose.name.lower(): count for purpose, count in state.counts.items()}


def set_random_state(values: Mapping[str, int]) -> None:
    """Go on from where `random_state` was taken; KeyError if a purpose is missing that it has always known."""
    since = {Purpose.AUGMENTATION.name.lower(): 0}  # a state from before it has made no such stream
    values = {**since, **values}
    counts = {purpose: int(values[purpose.name.lower()]) for purpose in Purpose}
    seed = check_seed("set_random_state", values["seed"])
    state = _local.get() or _state
    with state.lock:
        state.seed, state.counts = seed, counts


def check_seed(where: str, seed: int) -> int:
    """Return `seed`, an integer from 0 to 2**63 - 1; else TypeError or ValueError."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"{where}: seed must be an integer; got {arguments.shown(seed)}")
    if not 0 <= seed < _SEED_LIMIT:
        raise ValueError(f"{where}: seed must be from 0 to 2**63 - 1; got {arguments.shown(seed)}")
    return int(seed)


def new_stream(purpose: Purpose, seed: int | None = None) -> Stream:
    """Return the next stream for `purpose`: numbered under the global seed, or number 0 of a `seed` of its own."""
    if seed is not None:
        return Stream(check_seed("seed", seed), int(purpose))
    state = _local.get() or _state
    with state.lock:
        number = state.counts[purpose]
        state.counts[purpose] = number + 1
        return Stream(state.seed, int(purpose) + 256 * number)


@contextmanager
def undone_on_error() -> Iterator[None]:
    """If a `with` block fails, forget that streams were made in it: the next ones are those it would have had."""
    state = _local.get() or _state
    with state.lock:
        before = dict(state.counts)
    try:
        yield
    except BaseException:
        with state.lock:
            state.counts = before
        raise
