"""What arrays of a data set become before training: classes in one-hot form, rows of norm 1, two parts of a set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import HostArray
from gpunet.backend.random import Purpose, check_seed, new_stream


def to_categorical(x: Any, num_classes: int | None = None) -> HostArray:
    """Return y[..., j] = 1 where x = j, else 0: classes 0, 1, … in one-hot form, float64, as a new last axis.

    `num_classes` None is the largest class plus 1. A last axis of size 1 is dropped. ValueError for what is no class.

    >>> to_categorical([0, 2, 1])
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 1., 0.]])
    """
    where = "to_categorical"
    given = np.asarray(x)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{where}: x must hold whole numbers; got an array of {given.dtype}")
    with np.errstate(invalid="ignore"):
        classes = given.astype(np.int64)
    if given.size == 0 or not np.array_equal(classes, given) or classes.min() < 0:
        raise ValueError(f"{where}: x must hold classes 0, 1, ...; got {arguments.shown(x)}")
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    count = int(classes.max()) + 1
    if num_classes is not None and arguments.integer(where, "num_classes", num_classes) < count:
        raise ValueError(f"{where}: num_classes must be at least {count}, for class {count - 1}; got {num_classes}")
    made: HostArray = np.zeros((*classes.shape, num_classes or count))
    np.put_along_axis(made, classes[..., None], 1, axis=-1)
    return made


def normalize(x: Any, axis: int = -1, order: float = 2) -> HostArray:
    """Return x / norm of x along `axis`, of order `order` (2 is the Euclidean one); what has norm 0 stays.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    where = "normalize"
    given = np.asarray(x)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{where}: x must hold real numbers; got an array of {given.dtype}")
    axis = arguments.integer(where, "axis", axis, minimum=-given.ndim)
    if given.ndim == 0 or axis >= given.ndim:
        raise ValueError(f"{where}: axis must be one of the {given.ndim} axes of x; got {axis}")
    if order not in (math.inf, -math.inf):
        order = arguments.real(where, "order", order)
    norm = np.linalg.norm(given, order, axis, keepdims=True)
    return np.asarray(given / np.where(norm == 0, 1, norm))


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
) -> tuple[Any, Any]:
    """Return the first samples of `dataset` and the others: of an array, or of a tuple or list of arrays.

    A size is a share from 0 to 1, if it is a float, or a number of samples; one that is None is what the other leaves.
    With `shuffle` samples are drawn in the order of a permutation, that of `seed` or of the global seed.

    >>> split_dataset(np.arange(5), left_size=0.8)
    (array([0, 1, 2, 3]), array([4]))
    """
    where = "split_dataset"
    several = isinstance(dataset, (tuple, list))
    arrays = [np.asarray(array) for array in (dataset if several else [dataset])]
    if not arrays or any(array.ndim == 0 or len(array) != len(arrays[0]) for array in arrays):
        got = [array.shape for array in arrays]
        raise ValueError(f"{where}: dataset must hold arrays of as many samples each; got shapes {got}")
    samples = len(arrays[0])
    left, right = _size(where, "left_size", left_size, samples), _size(where, "right_size", right_size, samples)
    if left is None:
        if right is None:
            raise ValueError(f"{where}: left_size or right_size must be given; got None for both")
        left = samples - right
    right = samples - left if right is None else right
    if min(left, right) < 1 or left + right > samples:
        raise ValueError(f"{where}: sizes must share {samples} samples, at least 1 each; got {left} and {right}")
    stream = new_stream(Purpose.SHUFFLE, None if seed is None else check_seed(where, seed)) if shuffle else None
    order = np.arange(samples) if stream is None else stream.next_generator().permutation(samples)
    first, second = ([array[chosen] for array in arrays] for chosen in (order[:left], order[left : left + right]))
    return (tuple(first), tuple(second)) if several else (first[0], second[0])


def _size(where: str, name: str, size: float | None, samples: int) -> int | None:
    """Return how many of `samples` are meant by `size`, a share or a number; None for None."""
    if size is None:
        return None
    if isinstance(size, (float, np.floating)):
        return round(arguments.real(where, name, size, 0, 1) * samples)
    return arguments.integer(where, name, size)
