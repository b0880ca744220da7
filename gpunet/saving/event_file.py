"""The files that TensorBoard reads: events, each a record with checksums, in the encoding of protocol buffers.

    record = length (8 bytes) | masked crc32c of these | event | masked crc32c of the event, all little-endian

The messages are Event, Summary and HistogramProto of TensorBoard's event.proto, summary.proto and histogram.proto; the
records are those of TensorFlow's record_writer. crc32c is the polynomial 0x1EDC6F41 of RFC 3720, bits reversed.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from gpunet.backend.arrays import HostArray

_POLYNOMIAL = 0x82F63B78
_VERSION = b"brain.Event:2"  # without which TensorBoard takes a file for an older form
_MASK = 0xA282EAD8
_BUCKETS = 30  # as many as TensorBoard draws


class EventFile:
    """A file of events at `path`, to which scalars and histograms are added; begun anew, or cut to its first bytes.

    `kept` is how many bytes an earlier training had written when the checkpoint was made, from which this one goes on.
    """

    def __init__(self, path: Path, kept: int | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        goes_on = kept is not None and path.exists()
        self._file = path.open("r+b" if goes_on else "wb")
        if goes_on:
            self._file.truncate(kept)
            self._file.seek(0, 2)
        else:
            self._write(_bytes(3, _VERSION))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add the number `value` at `step` to the curve called `tag`."""
        self._add(tag, step, _tag(2, 5) + struct.pack("<f", value))

    def add_histogram(self, tag: str, values: HostArray, step: int) -> None:
        """Add the distribution of the finite ones of `values` at `step`; nothing if there are none."""
        finite = values[np.isfinite(values)].astype(np.float64).ravel()
        if finite.size == 0:
            return
        counts, edges = np.histogram(finite, _BUCKETS)
        numbers = (finite.min(), finite.max(), finite.size, finite.sum(), np.square(finite).sum())
        histogram = b"".join(_double(place, float(number)) for place, number in enumerate(numbers, start=1))
        histogram += _bytes(6, _packed(edges[1:])) + _bytes(7, _packed(counts))
        self._add(tag, step, _bytes(5, histogram))

    def _add(self, tag: str, step: int, value: bytes) -> None:
        summary = _bytes(1, _bytes(1, tag.encode()) + value)
        self._write(_tag(2, 0) + _varint(step) + _bytes(5, summary))

    def _write(self, event: bytes) -> None:
        event = _double(1, time.time()) + event
        length = struct.pack("<Q", len(event))
        checks = (struct.pack("<I", masked_crc(data)) for data in (length, event))
        self._file.write(length + next(checks) + event + next(checks))

    def flush(self) -> int:
        """Hand to the system what was written, and return the size of the file in bytes."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _table() -> Iterable[int]:
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        yield crc


_TABLE = tuple(_table())


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum of `data`.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """Return the checksum as records have it, rotated and shifted: checksums of what holds checksums are poor."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _tag(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _double(field: int, value: float) -> bytes:
    return _tag(field, 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(value)) + value


def _packed(values: HostArray) -> bytes:
    return values.astype("<f8").tobytes()
