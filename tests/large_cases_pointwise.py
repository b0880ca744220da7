"""The ops of activations and noise that test_large_arrays.py runs on arrays of more than 2^32 elements."""

from __future__ import annotations

import numpy as np
from large_cases import OTHER, WIDE, Case, normal, placed

from gpunet.ops import alpha_dropout, glu, log_softmax, noise, sparsemax
from gpunet.ops.pointwise import Pointwise, pointwise, pointwise_gradient
from gpunet.ops.prelu import prelu, prelu_gradient

MASK = (normal(WIDE) > 0).astype(np.uint8)
SLOPES = np.linspace(-1, 1, WIDE)

CASES = {
    "pointwise": Case(lambda x: pointwise(x, Pointwise.SQUAREPLUS, 2.0), (normal(WIDE),)),
    "pointwise_gradient": Case(lambda dy, x: pointwise_gradient(dy, x, Pointwise.SOFTSIGN), (normal(WIDE), OTHER)),
    "prelu": Case(lambda x: prelu(x, placed(SLOPES)), (normal(WIDE),)),
    "prelu_gradient": Case(lambda dy, x: prelu_gradient(dy, x, placed(SLOPES)), (normal(WIDE), OTHER)),
    "gaussian_dropout_gradient": Case(noise.gaussian_dropout_gradient, (normal(WIDE), OTHER)),
    "alpha_dropout": Case(lambda x, mask: alpha_dropout.alpha_dropout(x, mask, 0.3), (normal(WIDE), MASK)),
    "alpha_dropout_gradient": Case(
        lambda dy, mask: alpha_dropout.alpha_dropout_gradient(dy, mask, 0.3), (normal(WIDE), MASK)
    ),
    "log_softmax": Case(log_softmax.log_softmax, (normal(1003),)),
    "log_softmax_gradient": Case(log_softmax.log_softmax_gradient, (normal(1003), normal(1003, seed=1))),
    "sparsemax": Case(sparsemax.sparsemax, (normal(1003),)),
    "sparsemax_gradient": Case(sparsemax.sparsemax_gradient, (normal(1003), normal(1003, seed=1))),
    "glu": Case(glu.glu, (normal(1006),)),
    "glu_gradient": Case(glu.glu_gradient, (normal(503), normal(1006, seed=1))),
}
NEVER_LARGE = {
    "noise.cu:gaussian_noise": "its draws are those of dropout.cu:dropout, by the same index",
    "noise.cu:gaussian_dropout": "its draws are those of dropout.cu:dropout, by the same index",
    "orthogonality.cu:orthogonality": "weights only: pairs of rows, which would take hours; indices are Index",
    "orthogonality.cu:orthogonality_gradient": "weights only: pairs of rows, which would take hours; indices are Index",
    "orthogonality.cu:unit_vectors": "weights only, as the others of its file",
    "prelu.cu:prelu_alpha_gradient": "sums over all rows, which would take minutes here; indices are Index",
    "prelu.cu:prelu_alpha_sum": "sums over splits; a thread's numbers are Index",
}
