"""All cases, by name. A case is data about work; `bench.rivals` has the code that does it."""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases import (
    adam,
    convolution,
    convolution_pooling,
    convolution_transposed,
    dense,
    dropout,
    gather,
    merging,
    models,
    moves,
    nonfinite,
    normalization,
    pointwise,
    pooling,
    rmsprop,
    softmax_cross_entropy,
)
from bench.cases.case import Case

OPS: tuple[Case, ...] = (
    *dense.CASES,
    *convolution.CASES,
    *pooling.CASES,
    *normalization.CASES,
    *convolution_pooling.CASES,
    *convolution_transposed.CASES,
    *softmax_cross_entropy.CASES,
    *adam.CASES,
    *rmsprop.CASES,
    *dropout.CASES,
    *gather.CASES,
    *merging.CASES,
    *moves.CASES,
    *pointwise.CASES,
    *nonfinite.CASES,
)
MODELS: tuple[Case, ...] = models.CASES

CASES: Mapping[str, Case] = {case.name: case for case in (*MODELS, *OPS)}

__all__ = ["CASES", "MODELS", "OPS", "Case"]
