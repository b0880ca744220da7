"""PyDataset: batches that are made when they are asked for, by number."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from gpunet import arguments


class PyDataset:
    """Batches by number: item i is batch i, (x, y) or (x, y, sample_weight), of `len()` of them.

    A subclass defines `__getitem__` and `__len__` or, if there is no end, `num_batches` as None; it may define
    `on_epoch_begin` and `on_epoch_end`. `workers`, `use_multiprocessing` and `max_queue_size` are kept for Keras's
    sake: batches are made one after the other, in the order in which they are used, so that every run has the same.

    >>> class Pairs(PyDataset):
    ...     def __init__(self, x, y, batch_size, **options):
    ...         super().__init__(**options)
    ...         self.x, self.y, self.batch_size = x, y, batch_size
    ...
    ...     def __len__(self):
    ...         return -(-len(self.x) // self.batch_size)
    ...
    ...     def __getitem__(self, index):
    ...         rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
    ...         return self.x[rows], self.y[rows]
    >>> len(Pairs([1, 2, 3], [0, 1, 0], 2))
    2
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        where = type(self).__name__
        self.workers = arguments.integer(where, "workers", workers, 0)
        self.use_multiprocessing = arguments.boolean(where, "use_multiprocessing", use_multiprocessing)
        self.max_queue_size = arguments.integer(where, "max_queue_size", max_queue_size)

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__ must be defined, and return batch {index}")

    def __iter__(self) -> Iterator[Any]:
        batches = self.num_batches
        return (self[index] for index in (count() if batches is None else range(batches)))

    @property
    def num_batches(self) -> int | None:
        """How many batches there are: `len()`; None if there is no end."""
        if not hasattr(self, "__len__"):
            raise NotImplementedError(f"{type(self).__name__}: __len__ or num_batches must be defined")
        return len(self)

    def on_epoch_begin(self) -> None:
        """Called before an epoch."""

    def on_epoch_end(self) -> None:
        """Called after an epoch."""


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Return what a batch is made of as `fit` takes it: x alone, (x, y) or (x, y, sample_weight).

    >>> pack_x_y_sample_weight([1.0], [2.0])
    ([1.0], [2.0])
    """
    if sample_weight is not None:
        return x, y, sample_weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, (list, tuple)) else x  # so that several inputs are not taken for x and y


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of a batch, None for what it has not; ValueError for more than three parts.

    >>> unpack_x_y_sample_weight(([1.0], [2.0]))
    ([1.0], [2.0], None)
    """
    parts = tuple(data) if isinstance(data, (list, tuple)) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"unpack_x_y_sample_weight: data must be (x, y, sample_weight) or less; got {len(parts)} parts"
        )
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight
