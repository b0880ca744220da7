"""Data sets: the handwritten digits that the package carries, and what prepares images on the host."""

from gpunet.datasets import digits as digits
from gpunet.datasets.digits import load_data as load_digits
from gpunet.datasets.images import resize

__all__ = ["digits", "load_digits", "resize"]
