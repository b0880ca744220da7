"""The UCI optical handwritten digits, carried by the package: 1,797 images of 8 x 8 pixels.

`digits.npz` holds the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, UCI
Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; see DIGITS_LICENSE.md). It was made from
scikit-learn's copy, which has the same images in the same order:

    digits = sklearn.datasets.load_digits()
    x, y = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.uint8)
    np.savez_compressed("digits.npz", x=x, y=y)
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from gpunet.backend.arrays import HostArray
from gpunet.backend.random import Purpose, new_stream

CLASSES = 10
LARGEST_PIXEL = 16
TEST_SIZE = 360  # a fifth of the images, 36 of each digit


def load_data(seed: int = 0) -> tuple[tuple[HostArray, HostArray], tuple[HostArray, HostArray]]:
    """Return `(x_train, y_train), (x_test, y_test)`: 1,437 images to train on and 360 to test with.

    x has shape (n, 8, 8, 1) and dtype uint8, with pixels from 0 (paper) to 16 (ink); y has shape (n,) and dtype uint8,
    with the digits 0 to 9. `seed` decides which images are in the test set: of a permutation drawn with it, the first
    36 of each digit. The same seed gives the same split everywhere, whatever `gpunet.set_random_seed` says.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, y_train.shape, x_test.shape
    ((1437, 8, 8, 1), (1437,), (360, 8, 8, 1))
    """
    file = resources.files("gpunet.datasets") / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    order = new_stream(Purpose.DATASET, seed).next_generator().permutation(len(x))
    x, y = x[order], y[order]
    firsts = [np.flatnonzero(y == digit)[: TEST_SIZE // CLASSES] for digit in range(CLASSES)]
    is_test = np.zeros(len(y), bool)
    is_test[np.concatenate(firsts)] = True
    return (x[~is_test], y[~is_test]), (x[is_test], y[is_test])
