"""The table of a network's layers, in the form in which Keras 3 prints it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gpunet.backend.arrays import Array
from gpunet.layers.base import Layer
from gpunet.layers.shapes import Shapes
from gpunet.parameters import Parameter

if TYPE_CHECKING:
    from gpunet.networks.network import Network

_NARROWEST = 4

Row = tuple[str, ...]


class _Form(NamedTuple):
    """The columns, where they end, as shares of the line, and the length of the line in characters."""

    header: tuple[str, ...]
    positions: tuple[float, ...]
    line_length: int
    show_trainable: bool

    @property
    def justify(self) -> list[Callable[[str, int], str]]:
        kinds = {"Param #": str.rjust, "Trainable": str.center}
        return [kinds.get(title, str.ljust) for title in self.header]


_CHAIN = _Form(("Layer (type)", "Output Shape", "Param #"), (0.45, 0.80, 1.0), 88, False)
_GRAPH = _Form((*_CHAIN.header, "Connected to"), (0.3, 0.56, 0.74, 1.0), 108, False)


def _form(network: Network, show_trainable: bool) -> _Form:
    form = _CHAIN if network.is_chain else _GRAPH
    if not show_trainable:
        return form
    return _Form((*form.header, "Trainable"), form.positions, form.line_length + 12, True)


def summary_text(
    network: Network,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
    optimizer_arrays: Sequence[Array] = (),
) -> str:
    """Return the summary of `network`: a table of its layers, then how many parameters, and how many bytes, it has.

    A graph that is no chain has a column more: what each layer takes. `line_length` is in characters, None what the
    terminal has, 88 at most, 108 for such a graph (12 more with `show_trainable`). `positions` are where columns end,
    as shares of the line. `expand_nested` adds the layers inside layers, `show_trainable` a column that tells which are
    trained. `layer_range` is the first and the last layer to show, by patterns of their names. `optimizer_arrays`, once
    there are any, are counted too.
    """
    form = _form(network, show_trainable)
    rows = list(_rows(network, form, expand_nested, layer_range))
    widths = _widths(line_length, positions, form)
    lines = [f'Model: "{network.name}"', *_table([form.header, *rows], widths, form.justify)]
    return "\n".join([*lines, *_totals(network, optimizer_arrays)])


def _rows(network: Network, form: _Form, expand_nested: bool, layer_range: Sequence[str] | None) -> Iterator[Row]:
    first, last = _range(network, layer_range)
    for index, layer in enumerate(network.layers[first : last + 1], start=first):
        for inside, row in _layer_rows(layer, network.layer_output_shape(index), expand_nested, level=0):
            connected = () if network.is_chain else (network.connections_of(inside),)
            yield (*row[:3], *connected, *(row[3:] if form.show_trainable else ()))


def _layer_rows(layer: Layer, shape: Shapes, expand_nested: bool, level: int) -> Iterator[tuple[Layer, Row]]:
    """Yield `layer` with its row and, if asked for, the layers inside it with theirs."""
    prefix = "   " * level + "└ " if level else ""
    parameters = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
    trained = ("Y" if layer.trainable else "N") if layer.weights else "-"
    yield layer, (f"{prefix}{layer.name} ({type(layer).__name__})", _shape(shape), parameters, trained)
    for index, inner in enumerate(getattr(layer, "layers", ()) if expand_nested else ()):
        yield from _layer_rows(inner, layer.layer_output_shape(index), expand_nested, level + 1)  # type: ignore[attr-defined]


def _shape(shape: Shapes) -> str:
    if isinstance(shape, list):
        return f"[{', '.join(map(_shape, shape))}]"
    return "?" if shape is None else f"({', '.join(map(str, shape))})"


def _range(network: Network, layer_range: Sequence[str] | None) -> tuple[int, int]:
    """Return the numbers of the first and last layer whose names match the patterns; ValueError if none does."""
    names = [layer.name for layer in network.layers]
    if layer_range is None:
        return 0, len(names) - 1
    if isinstance(layer_range, str) or len(layer_range) != 2:
        raise ValueError(f"{network.where}: layer_range must be two names; got {layer_range!r}")
    matches = [[number for number, name in enumerate(names) if re.match(pattern, name)] for pattern in layer_range]
    if not all(matches):
        raise ValueError(f"{network.where}: layer_range must match names among {names}; got {list(layer_range)}")
    first, last = matches
    return (min(last), max(first)) if min(first) > max(last) else (min(first), max(last))


def _widths(line_length: int | None, positions: Sequence[float] | None, form: _Form) -> list[int]:
    """Return how many characters each column has, without the frame and the blanks beside it."""
    ends = list(form.positions if positions is None else positions)
    if form.show_trainable:
        ends = [0.9 * end for end in ends] + [1.0]
    columns = len(form.header)
    if len(ends) != columns or ends != sorted(ends) or ends[-1] != 1:
        number = len(form.positions)
        raise ValueError(f"summary: positions must be {number} growing numbers that end in 1.0; got {positions}")
    if line_length is None:
        line_length = min(form.line_length, shutil.get_terminal_size().columns - 4)
    places = [int(end * line_length) for end in ends]
    widths = [place - before for place, before in zip(places, [0, *places], strict=False)]
    too_much = 3 * columns + 1  # the frame and a blank on each side of each column, taken from all in turn
    for number in range(columns):
        share = round(too_much / (columns - number))
        widths[number] -= share
        too_much -= share
    if min(widths) < _NARROWEST - 2:
        raise ValueError(f"summary: line_length must leave room for {columns} columns; got {line_length}")
    return widths


def _table(rows: Sequence[Row], widths: Sequence[int], justify: Sequence[Callable[[str, int], str]]) -> Iterator[str]:
    """Yield the lines of a framed table; the first row is its header."""
    yield _rule("┏━┳┓", widths)
    for number, row in enumerate(rows):
        if number:
            yield _rule("┡━╇┩" if number == 1 else "├─┼┤", widths)
        bar = "│" if number else "┃"
        cells = [_wrap(text, width) for text, width in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            padded = [place(part, width) for place, part, width in zip(justify, parts, widths, strict=True)]
            yield f"{bar} {f' {bar} '.join(padded)} {bar}"
    yield _rule("└─┴┘", widths)


def _rule(pieces: str, widths: Sequence[int]) -> str:
    left, dash, cross, right = tuple(pieces)
    return left + cross.join(dash * (width + 2) for width in widths) + right


def _wrap(text: str, width: int) -> list[str]:
    """Return `text` in lines of `width` characters, broken at blanks; a longer word is cut."""
    lines = [""]
    for word in re.findall(r"\s*\S+\s*", text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    stripped = [line.rstrip() for line in lines]
    return [line if len(line) <= width else line[: width - 1] + "…" for line in stripped]


def _totals(network: Network, optimizer_arrays: Sequence[Array]) -> Iterator[str]:
    trained, fixed = network.trainable_weights, network.non_trainable_weights
    yield _total("Total", [*trained, *fixed, *optimizer_arrays])
    yield _total("Trainable", trained)
    yield _total("Non-trainable", fixed)
    if optimizer_arrays:
        yield _total("Optimizer", optimizer_arrays)


def _total(name: str, arrays: Sequence[Parameter | Array]) -> str:
    count, size = sum(array.size for array in arrays), float(sum(array.nbytes for array in arrays))
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024 or unit == "TB":
            break
        size /= 1024
    return f" {name} params: {count:,} ({size:.2f} {unit})"
