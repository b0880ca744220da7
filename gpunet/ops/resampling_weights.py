"""What neighbours count for when an axis is resampled: for each place of the result, a run of places and weights.

Place p of `size` lies at (p + 1/2) length / size - 1/2 among `length` places: pixels are squares, and the edges of both
images meet. Neighbours count by a kernel of their distance; what lies outside the image counts for nothing, and the
weights are divided by their sum. With `antialias` an image that shrinks is looked at through a wider kernel. This is
what jax.image.resize and tf.image.resize (ScaleAndTranslate) compute. The cubic kernel is that of Keys 1981, "Cubic
convolution interpolation for digital image processing", with a = -1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import HostArray

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area")


class Taps(NamedTuple):
    """y[p] = sum_{k < counts[p]} weights[p, k] x[starts[p] + k]; float64, and zeros behind the counts."""

    starts: HostArray
    counts: HostArray
    weights: HostArray

    def transposed(self, length: int) -> Taps:
        """Return the table of the gradient, for x of `length` places: what place j gets from each place of y."""
        size, most = self.weights.shape
        inside = np.arange(most) < self.counts[:, None]
        p = np.broadcast_to(np.arange(size)[:, None], inside.shape)[inside]
        j = (self.starts[:, None] + np.arange(most))[inside]
        # Those p whose runs have j are neighbours, but for some with a weight of 0, which stays 0.
        starts, ends = np.full(length, size), np.zeros(length, np.int64)
        np.minimum.at(starts, j, p)
        np.maximum.at(ends, j, p + 1)
        counts = np.maximum(ends - starts, 0)
        starts[counts == 0] = 0
        weights = np.zeros((length, max(int(counts.max()), 1)))
        weights[j, p - starts[j]] = self.weights[inside]
        return Taps(starts, counts, weights)


def taps(length: int, size: int, interpolation: str, antialias: bool) -> Taps:
    """Return the weights that make `size` places of `length`; `antialias` says nothing to 'nearest' and 'area'."""
    arguments.choice("taps", "interpolation", interpolation, INTERPOLATIONS)
    if interpolation == "nearest":
        places = np.minimum((2 * np.arange(size) + 1) * length // (2 * size), length - 1)
        return Taps(places, np.ones(size, np.int64), np.ones((size, 1)))
    if interpolation == "area":
        return _area(length, size)
    radius, kernel = _KERNELS[interpolation]
    scale = length / size
    stretch = max(scale, 1.0) if antialias else 1.0
    centers = (np.arange(size) + 0.5) * scale - 0.5
    first = np.ceil(centers - radius * stretch).astype(np.int64)
    places = first[:, None] + np.arange(int(np.floor(2 * radius * stretch)) + 1)
    weights = kernel(np.abs(centers[:, None] - places) / stretch)
    weights[(places < 0) | (places >= length)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return _trimmed(first, weights)


def _area(length: int, size: int) -> Taps:
    """Return the shares of the stretch from p length / size on, as long as length / size, that lie in each place."""
    # In whole numbers: place j is the stretch from j size to (j + 1) size, p that from p length to (p + 1) length.
    begin = np.arange(size)[:, None] * length
    first = begin[:, 0] // size
    places = first[:, None] + np.arange(-(-length // size) + 1)
    shared = np.minimum(begin + length, (places + 1) * size) - np.maximum(begin, places * size)
    return _trimmed(first, np.maximum(shared, 0) / length)


def _trimmed(first: HostArray, weights: HostArray) -> Taps:
    """Return the taps of `weights` for the places from `first` on, without zeros at their ends."""
    counts_for = weights != 0
    lead = counts_for.argmax(axis=1)
    counts = weights.shape[1] - counts_for[:, ::-1].argmax(axis=1) - lead
    places = lead[:, None] + np.arange(counts.max())
    moved = np.take_along_axis(weights, np.minimum(places, weights.shape[1] - 1), axis=1)
    moved[np.arange(counts.max()) >= counts[:, None]] = 0
    return Taps(first + lead, counts, moved)


def _triangle(d: HostArray) -> HostArray:
    weights: HostArray = np.maximum(1 - d, 0)
    return weights


def _cubic(d: HostArray) -> HostArray:
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    weights: HostArray = np.where(d < 1, near, np.where(d < 2, far, 0.0))
    return weights


def _lanczos(radius: int) -> Callable[[HostArray], HostArray]:
    def kernel(d: HostArray) -> HostArray:
        weights: HostArray = np.where(d < radius, np.sinc(d) * np.sinc(d / radius), 0.0)
        return weights

    return kernel


_KERNELS: dict[str, tuple[int, Callable[[HostArray], HostArray]]] = {
    "bilinear": (1, _triangle),
    "bicubic": (2, _cubic),
    "lanczos3": (3, _lanczos(3)),
    "lanczos5": (5, _lanczos(5)),
}
