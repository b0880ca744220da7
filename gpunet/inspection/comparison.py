"""Compare two devices: the same model, the same batch, layer by layer and over some training steps.

Weights, dropout masks and data are the same on every device, so what differs is arithmetic. Three passes find where:
each device by itself, and the second one with each layer given what the first one's got. Where that differs by more
than the tolerance, the first device runs again on inputs that are moved a little: a sum whose terms cancel, a relu next
to 0 or a maximum of two near values answers to rounding as much as to that, and is no fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend import devices
from gpunet.backend.arrays import CPU, EMULATED, Device, HostArray, to_device, to_host
from gpunet.backend.threads import one_blas_thread
from gpunet.inspection.parity_report import Drift, Parity, ParityRow
from gpunet.inspection.passes import Point, Record, moved, run_pass, weight_point
from gpunet.inspection.twin import twin
from gpunet.inspection.ulps import differences, distance, spacing
from gpunet.ops.trace import UPDATE
from gpunet.training.feeding import ready
from gpunet.training.intake import Batching
from gpunet.training.trainer import Trainer

TOLERANCE = 64.0  # units; see `parity`
_TRIES = 8  # of moved inputs: a relu that rounding switches is switched by one of them, but for 1 time in 256
_DRIFT_TRIES = 3
_FACTOR = 4.0  # by which moved inputs may move results less than rounding does: there several relus may switch at once

_Pair: TypeAlias = tuple[HostArray, HostArray]  # of one array, on the first device and on the second
State: TypeAlias = dict[Point, HostArray]  # weights, and what the optimizer keeps


def parity(
    model: Trainer,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    *,
    device: str | Device | None = None,
    against: str | Device = CPU,
    steps: int = 3,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Run a training step, and `steps` more, of a compiled `model` on two devices; return the Parity.

    x, y and `batch_size` are what `fit` takes; the first batch is used for all. `device` None is the current default
    or, where that is `against` itself, 'emulated' (or 'cpu'). `tolerance` is in units of the last place of an array's
    largest number: 64 are six of float32's 24 bits, and several times what the built-in networks need (26 at most were
    seen). The model is left as it was, bit for bit: both devices work on copies.

    ValueError if the model is not compiled with a loss; RuntimeError if a device cannot be used.

    >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
    >>> model.compile("adam", loss="sparse_categorical_crossentropy")
    >>> found = parity(model, x, y, batch_size=32, device="cpu")  # or "cuda", or "emulated"
    >>> found.within_tolerance
    True
    """
    if not isinstance(model, Trainer):
        raise TypeError(f"parity: model must be one that can be trained; got {arguments.shown(model)}")
    where = f"{model.where}: parity"
    size = None if batch_size is None else arguments.integer(where, "batch_size", batch_size)
    steps = arguments.integer(where, "steps", steps)
    tolerance = arguments.real(where, "tolerance", tolerance, minimum=0)
    first = _device(f"{where}: against", against)
    second = default_device(first) if device is None else _device(f"{where}: device", device)
    batch = _first_batch(model, where, x, y, size)
    comparison = _Comparison(model, (first, second), batch, tolerance)
    record, rows = comparison.passes()
    drift, weights = comparison.drift(steps)
    return Parity(
        model=model.name,
        device=str(second),
        against=str(first),
        batch_size=len(batch[0]),
        dtype=model.dtype,
        tolerance=tolerance,
        rows=(*rows, *comparison.updates(record.gradients, steps, weights)),
        drift=drift,
    )


def default_device(against: Device) -> Device:
    """Return the device to compare with `against` where none is named: the current default, or else another one."""
    chosen = devices.current_device()
    if chosen != against:
        return chosen
    return CPU if against == EMULATED else EMULATED


def _device(where: str, name: str | Device) -> Device:
    """Return the device called `name`; RuntimeError with the reason if it cannot be used."""
    if not isinstance(name, (str, Device)):
        raise TypeError(f"{where} must be the name of a device; got {arguments.shown(name)}")
    try:
        with devices.device(name) as chosen:
            return chosen
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _first_batch(model: Trainer, where: str, x: Any, y: Any, size: int | None) -> tuple[HostArray, ...]:
    """Return copies of the first batch on the host; the model is built for it if it is not yet."""
    batches = model._feed(where, x, y, Batching(size, steps=None)).epoch()
    assert batches is not None, "a new feed has a batch"
    with closing(batches):
        return tuple(np.array(to_host(array)) for array in next(batches).take())


class _Comparison:
    """Two devices, what they are to run, and how far their results may be apart."""

    def __init__(
        self, model: Trainer, places: tuple[Device, Device], batch: tuple[HostArray, ...], tolerance: float
    ) -> None:
        self._model = model
        self._first, self._second = places
        self._batch = batch
        self._tolerance = tolerance

    # One step, array by array.

    def passes(self) -> tuple[Record, list[ParityRow]]:
        """Return the first device's pass, and how the second one's differ from it."""
        ours, theirs = self._run(self._first), self._run(self._second)
        _check_alike(ours, theirs)
        own = self._run(self._second, ours)
        suspects = {point for point, array in ours.made.items() if distance(array, own.made[point]) > self._tolerance}
        spreads = self._spreads(ours, suspects) if suspects else {}
        rows = [
            self._row(point, (array, own.made[point]), (array, theirs.made[point]), spreads.get(point))
            for point, array in ours.made.items()
        ]
        rows += self._changed(ours.changed, own.changed, theirs.changed)
        return ours, rows

    def _changed(self, ours: State, own: State, inherited: State) -> list[ParityRow]:
        """Return rows for weights that the layers of any pass changed themselves."""
        rows = []
        for parameter in self._model.weights:
            point = weight_point(parameter)
            if point in ours or point in own or point in inherited:
                before = parameter.numpy()
                first, second, third = (state.get(point, before) for state in (ours, own, inherited))
                rows.append(self._row(point, (first, second), (first, third)))
        return rows

    def _run(self, device: Device, given: Record | None = None, noise: np.random.Generator | None = None) -> Record:
        with devices.device(device):  # where own layers may make arrays
            return run_pass(twin(self._model, device), self._batch, given, noise)

    def _spreads(self, ours: Record, suspects: Iterable[Point]) -> dict[Point, HostArray]:
        """Return how far the first device's own results go, at most, when its layers' inputs are moved."""
        noise = np.random.default_rng(0)
        found = [self._run(self._first, ours, noise).made for _ in range(_TRIES)]
        return {p: np.max([differences(ours.made[p], one[p]) for one in found], axis=0) for p in suspects}

    def _row(self, point: Point, own: _Pair, inherited: _Pair, spread: HostArray | None = None) -> ParityRow:
        allowed: HostArray | float = 0.0 if spread is None else _FACTOR * spread
        return ParityRow(
            *point,
            shape=own[0].shape,
            own=distance(*own),
            inherited=distance(*inherited),
            sensitivity=None if spread is None else float(spread.max(initial=0)) / spacing(*own),
            beyond=not distance(*own, allowed) <= self._tolerance,
        )

    # Updates: the optimizer by itself, given the same gradients.

    def updates(self, gradients: Mapping[str, HostArray], steps: int, trained: tuple[State, State]) -> list[ParityRow]:
        """Return rows for weights and optimizer variables after `steps` updates by the same `gradients`.

        `trained` is what both devices had after as many steps of training.
        """
        if not gradients:
            return []
        ours, own = (self._updated(device, gradients, steps) for device in (self._first, self._second))
        first, second = trained
        return [self._row(point, (ours[point], own[point]), (first[point], second[point])) for point in ours]

    @one_blas_thread()
    def _updated(self, device: Device, gradients: Mapping[str, HostArray], steps: int) -> State:
        model = twin(self._model, device)
        assert model.optimizer is not None
        with devices.device(device):
            model.optimizer.build(model.weights)
            for _ in range(steps):
                for path, parameter in model.parameters_by_path.items():
                    parameter.gradient = None
                    if path in gradients:
                        parameter.add_gradient(to_device(gradients[path].copy(), device))
                model.optimizer.apply(model.trainable_parameters)
        return _state(model)

    # Drift: some steps of training, each device by itself.

    def drift(self, steps: int) -> tuple[Drift, tuple[State, State]]:
        """Return the losses of `steps` steps on both devices, and what weights and optimizers are then."""
        ours, our_state = self._trained(self._first, steps)
        theirs, their_state = self._trained(self._second, steps)
        pairs = zip(ours, theirs, strict=True)
        units = [spacing(*(np.array(loss, self._model.dtype) for loss in pair)) for pair in pairs]
        found = Drift(tuple(ours), tuple(theirs), tuple(self._tolerance * unit for unit in units))
        if found.first_beyond is not None:
            spread = self._drift_spread(ours)
            allowed = [one + _FACTOR * more for one, more in zip(found.allowed, spread, strict=True)]
            found = replace(found, allowed=tuple(allowed))
        return found, (our_state, their_state)

    def _drift_spread(self, losses: list[float]) -> list[float]:
        """Return how far the first device's losses go, at most up to each step, when initial weights are moved."""
        noise = np.random.default_rng(0)
        found = [self._trained(self._first, len(losses), noise)[0] for _ in range(_DRIFT_TRIES)]
        spreads = np.max(np.abs(np.array(found) - losses), axis=0)
        return [float(most) for most in np.maximum.accumulate(spreads)]

    def _trained(
        self, device: Device, steps: int, noise: np.random.Generator | None = None
    ) -> tuple[list[float], State]:
        model = twin(self._model, device)
        if noise is not None:
            for parameter in model.weights:
                parameter.assign(moved(parameter.numpy(), noise))
        losses = []
        with devices.device(device):
            step, batch = model._new_step(), tuple(to_device(array.copy(), device) for array in self._batch)
            for _ in range(steps):
                step.reset()
                step.train(ready(batch))
                losses.append(step.results()["loss"])
        return losses, _state(model)


def _state(model: Trainer) -> State:
    """Return copies of the weights that are trained, and of what the optimizer keeps, on the host."""
    assert model.optimizer is not None
    found, variables = {}, model.optimizer.variables
    for parameter in model.trainable_weights:
        point = weight_point(parameter)
        found[point] = parameter.numpy()
        for path in [path for path in variables if path.startswith(f"{parameter.path}/")]:
            name = parameter.name + path.removeprefix(parameter.path)
            found[point._replace(array=name)] = np.array(to_host(variables[path]))
    for name in ("iterations", "learning_rate"):
        found[Point("optimizer", UPDATE, name)] = np.array(to_host(variables[name]))
    return found


def _check_alike(ours: Record, other: Record) -> None:
    """Raise RuntimeError unless two passes made the same arrays."""
    for point in [*ours.made, *other.made]:
        shapes = [str(record.made[point].shape) if point in record.made else "nothing" for record in (ours, other)]
        if shapes[0] != shapes[1]:
            what = f"the {point.direction} pass of {point.layer} made {point.array}: {' and '.join(shapes)}"
            raise RuntimeError(f"parity: layers must run alike on both devices; {what}")
