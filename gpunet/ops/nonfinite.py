"""A note of the first step with an infinity or NaN, and copies of what was there before it, made on the device.

The host need not look at every step: however much later it reads `notes`, the copies are of the step that was first.
`notes` is int64 (2, NOTES), zeros at first: numbers of steps, and of the kinds of their batches, noted by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, common_device, zeros
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.flat import BLOCK
from gpunet.ops.preparation import Rules, penalized
from gpunet.ops.trace import op

NOTES = 256  # blocks that note, and threads of each
PER_THREAD = 4  # elements of a gradient that a thread looks at, as long as there are blocks
COPIES = 4  # arrays that one launch keeps
COPY_BLOCKS = 16  # for each of them; mostly they have nothing to do, so few are best

Pairs: TypeAlias = Sequence[tuple[Array, Array]]  # sources and targets

_FILE = "nonfinite.cu"
_DEFINES = {"THREADS": NOTES, "OWNED": BLOCK}


def new_notes(device: Device) -> Array:
    """Return notes with nothing noted."""
    return zeros((2, NOTES), np.int64, device)


def first_note(notes: HostArray) -> tuple[int, int] | None:
    """Return the first step that was noted and the kind of its batch, from notes on the host; None without one."""
    places = np.flatnonzero(notes[0])
    if not places.size:
        return None
    first = places[np.argmin(notes[0, places])]
    return int(notes[0, first]), int(notes[1, first])


def _flops(w: Array, gradient: Array, rules: Rules, run: slice, *_: object) -> int:
    return (2 if rules.l1 is None else 6) * sum(rules.layout.sizes[run])


def _read(w: Array, gradient: Array, rules: Rules, run: slice, *_: object) -> int:
    return (1 if rules.l1 is None else 2) * w.itemsize * sum(rules.layout.sizes[run])


@op(_flops, traffic=_read)
def note_nonfinite(
    w: Array,
    gradient: Array,
    rules: Rules,
    run: slice,
    loss: Array | None,
    iterations: Array,
    notes: Array,
    kind: int,
) -> None:
    """Note (iterations[0], kind) if a gradient or the loss is not finite, where nothing is noted yet.

    `w` and `gradient` are flat; the gradients of the parameters in `run`, a slice of their numbers, are looked at, with
    what their penalties in `rules` add. `loss` is float64 (1, 2), a running mean of losses, or None; `iterations` is
    int64 (1,), above 0. The arrays lie on one device, and nothing is read back.
    """
    device = contract.floats("note_nonfinite", w=w, gradient=gradient)
    common_device("note_nonfinite", w=w, loss=loss, notes=notes)
    _check_notes("note_nonfinite", notes, iterations)
    for name, array in {"w": w, "gradient": gradient}.items():
        contract.is_output("note_nonfinite", (rules.layout.size,), **{name: array})
    if loss is not None:
        contract.has_dtype("note_nonfinite", "loss", loss, np.float64)
        contract.has_shape("note_nonfinite", "loss", loss, (1, 2))
    if device.kind is Kind.CPU:
        is_finite = (loss is None or bool(np.isfinite(loss).all())) and _are_finite(w, gradient, rules, run)
        if not is_finite and notes[0, 0] == 0:
            notes[:, 0] = iterations[0], kind
        return
    span, blocks = rules.layout.span(run.start, run.stop), rules.blocks(run)
    args = (w[span], gradient[span], rules.owners[blocks], rules.l1, rules.l2, loss, iterations, notes[0], notes[1])
    size = span.stop - span.start
    grid = min(NOTES, ceil_div(size, NOTES * PER_THREAD))
    launch(_FILE, "note_nonfinite", grid=grid, block=NOTES, args=(*args, kind, size), real=w.dtype, defines=_DEFINES)


def _are_finite(w: HostArray, gradient: HostArray, rules: Rules, run: slice) -> bool:
    if rules.l1 is None:
        return _is_finite(gradient[rules.layout.span(run.start, run.stop)])
    spans = rules.spans(run.start, run.stop)
    return all(_is_finite(penalized(gradient[span], w[span], rules, number)) for number, span in spans)


def _is_finite(values: HostArray) -> bool:
    # No sum of squares is finite unless all of them are; it takes half the time of a look at each.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(values, values)) or np.isfinite(values).all())


def _read_by_keep(notes: Array, *_: object) -> int:
    return notes.nbytes // 2


@op(lambda *_: 0, traffic=_read_by_keep)
def keep_if_noted(notes: Array, iterations: Array | None, pairs: Pairs) -> None:
    """Copy sources to targets, in `pairs`, if iterations[0] is the first step in `notes`: hardly ever, that is.

    With `iterations` None they are copied as long as nothing is noted: at the beginning of every step this keeps what
    was there before the first that was noted. Sources and targets are C-contiguous, of equal shapes and dtypes, of 4 or
    8 bytes an element; on a device, something must have been written to targets before.
    """
    device = _check_notes("keep_if_noted", notes, iterations)
    for source, target in pairs:
        common_device("keep_if_noted", notes=notes, source=source, target=target)
        contract.has_dtype("keep_if_noted", "target", target, source.dtype)
        contract.is_output("keep_if_noted", source.shape, source=source, target=target)
    if device.kind is Kind.CPU:
        note = first_note(notes)
        if (note is None) if iterations is None else (note is not None and note[0] == iterations[0]):
            for source, target in pairs:
                target[...] = source
        return
    for start in range(0, len(pairs), COPIES):
        some = pairs[start : start + COPIES]
        words = [(_words(source), _words(target), source.nbytes // 4) for source, target in some]
        unused = [(None, None, 0)] * (COPIES - len(words))
        args = (notes[0], iterations, *(argument for one in (*words, *unused) for argument in one))
        grid = COPY_BLOCKS, len(words)
        launch(_FILE, "keep_if", grid=grid, block=NOTES, args=args, real=np.float32, defines=_DEFINES)


def _words(array: Array) -> Array:
    return array.reshape(-1).view(np.uint32)


def _check_notes(where: str, notes: Array, iterations: Array | None) -> Device:
    """Return the device of both; TypeError or ValueError if they are not what they must be."""
    contract.has_dtype(where, "notes", notes, np.int64)
    contract.is_output(where, (2, NOTES), notes=notes)
    if iterations is not None:
        contract.has_dtype(where, "iterations", iterations, np.int64)
        contract.has_shape(where, "iterations", iterations, (1,))
    return common_device(where, notes=notes, iterations=iterations)
