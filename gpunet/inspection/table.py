"""Tables of plain text, their columns as wide as the longest cell."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Container[int] = ()) -> Iterator[str]:
    """Yield the lines of a table, the names of its columns first; those that `numbers` counts stand at the right."""
    lines = [columns, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column])
            for column, cell in enumerate(line)
        ]
        yield "  ".join(cells).rstrip()
