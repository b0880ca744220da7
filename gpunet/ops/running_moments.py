"""The mean and variance of data that come in batches, on the host in float64, each batch seen once.

Two means m and n of a and b elements with sums of squares s and t join to m + (n - m) b / (a + b) and
s + t + (n - m)^2 a b / (a + b): Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import HostArray
from gpunet.ops import normalization_host
from gpunet.ops.normalization_groups import Grouping


class RunningMoments:
    """Mean and variance of each group, of all elements that were added so far; `count` is how many a group had."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: HostArray = np.zeros(1)
        self._squares: HostArray = np.zeros(1)

    def add(self, x: HostArray, grouping: Grouping) -> None:
        """Add the elements of x, in the same groups each time."""
        view = grouping.groups
        mean, squares = (
            moment.reshape(-1) for moment in normalization_host.moments(x.astype(np.float64), view, centered=True)
        )
        before, self.count = self.count, self.count + view.terms
        apart = mean - self.mean
        self.mean = self.mean + apart * (view.terms / self.count)
        self._squares = self._squares + squares + np.square(apart) * (before * view.terms / self.count)

    @property
    def variance(self) -> HostArray:
        """The mean of squared differences from the mean."""
        return self._squares / self.count
