"""What the times of interleaved visits say: medians, spread, and the ratio of two libraries visit by visit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Summary:
    """The median of some numbers, with the lower and the upper quartile."""

    median: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def summarize(values: Sequence[float]) -> Summary:
    """Return median and quartiles; ValueError for no values."""
    if not values:
        raise ValueError("summarize: values must not be empty")
    if len(values) == 1:
        return Summary(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(median, low, high)


def times(visits: Sequence[Sequence[float]]) -> Summary:
    """Return the summary of all runs of all visits."""
    return summarize([seconds for visit in visits for seconds in visit])


def ratio(visits: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> Summary:
    """Return how many times as long as `reference` the library took, visit by visit.

    Both were visited in turn, so that what disturbs the machine for longer than a visit disturbs both.
    """
    pairs = zip(visits, reference, strict=True)
    return summarize([statistics.median(one) / statistics.median(other) for one, other in pairs])
