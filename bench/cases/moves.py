"""Images resized and rotated, and the gradient of an embedding: ops that move data more than they compute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops.affine import affine
from gpunet.ops.embedding import embedding_gradient
from gpunet.ops.resampling import resample
from gpunet.ops.trace import flops_of

TURN = (0.8, -0.6, 20.0, 0.6, 0.8, -10.0)  # of each image, as ops/affine.py has it
ROTATION = ("bilinear", "reflect")
RESIZING = "bilinear"


def images(sizes: Mapping[str, int]) -> Data:
    n, h, c = sizes["n"], sizes["h"], sizes["c"]
    return {"x": numbers(1, n, h, h, c), "matrices": np.tile(np.array(TURN, np.float32), (n, 1))}


def words(sizes: Mapping[str, int]) -> Data:
    """Return a batch of texts: words as frequent as Zipf has them, a third of all places the padding, word 0."""
    rng = np.random.default_rng(1)
    x = np.minimum(rng.zipf(1.3, sizes["n"]), sizes["words"] - 1)
    x[rng.random(sizes["n"]) < 1 / 3] = 0
    return {"x": x.astype(np.float32), "dy": numbers(2, sizes["n"], sizes["width"])}


def _images(n: int, h: int, c: int, to: int, quick: bool) -> list[Case]:
    x, label, sizes = array(n, h, h, c), f"{n}x{h}x{h}x{c}", {"n": n, "h": h, "c": c, "to": to}
    between, y = array(n, to, h, c), array(n, to, to, c)
    resizing = flops_of(resample, x, 1, to, RESIZING) + flops_of(resample, between, 2, to, RESIZING)
    moved = float_bytes(x.size, y.size)
    turning = flops_of(affine, x, array(n, 6), (h, h), *ROTATION)
    return [
        Case("resizing", f"{label} to {to}", sizes, resizing, moved, images, quick=quick, has_images=True),
        Case("rotation", label, sizes, turning, float_bytes(2 * x.size), images, quick=quick, has_images=True),
    ]


def _words(n: int, words_: int, width: int, quick: bool) -> Case:
    sizes, dtable = {"n": n, "words": words_, "width": width}, array(words_, width)
    flops = flops_of(embedding_gradient, array(n, width), array(n), dtable)
    moved = float_bytes(n, n * width, dtable.size)
    return Case("embedding_backward", f"{n}x{words_}x{width}", sizes, flops, moved, words, quick=quick)


CASES = (
    *_images(32, 64, 3, 50, quick=True),
    *_images(32, 224, 3, 160, quick=False),
    _words(6400, 20_000, 64, quick=True),
    _words(65_536, 100_000, 128, quick=False),
)
