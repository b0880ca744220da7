"""The activations for eager use: each takes an array of any device, or a list, and returns an array of that device."""

from __future__ import annotations

from typing import Any

from gpunet.activations import forwards
from gpunet.activations.conversion import as_floats
from gpunet.backend.arrays import Array
from gpunet.ops.activation import LEAKY_SLOPE, Activation, activate
from gpunet.ops.pointwise import Pointwise
from gpunet.ops.pointwise import pointwise as apply


def linear(x: Any) -> Array:
    """y = x."""
    return as_floats("linear", x)


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """y = min(x, max_value) where x >= threshold, else negative_slope (x - threshold).

    >>> relu([0.25, 0.5, 3.0], max_value=1)
    array([0.25, 0.5 , 1.  ], dtype=float32)
    """
    return forwards.relu(as_floats("relu", x), negative_slope, max_value, threshold)[0]


def leaky_relu(x: Any, negative_slope: float = LEAKY_SLOPE) -> Array:
    """y = x where x >= 0, else negative_slope x."""
    return forwards.relu(as_floats("leaky_relu", x), negative_slope)[0]


def relu6(x: Any) -> Array:
    """y = min(max(x, 0), 6)."""
    return forwards.relu6(as_floats("relu6", x))[0]


def sigmoid(x: Any) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return activate(as_floats("sigmoid", x), Activation.SIGMOID)


def hard_sigmoid(x: Any) -> Array:
    """y = min(max(x + 3, 0), 6) / 6."""
    return apply(as_floats("hard_sigmoid", x), Pointwise.HARD_SIGMOID)


def log_sigmoid(x: Any) -> Array:
    """y = -log(1 + exp(-x))."""
    return apply(as_floats("log_sigmoid", x), Pointwise.LOG_SIGMOID)


def sparse_sigmoid(x: Any) -> Array:
    """y = min(max((x + 1) / 2, 0), 1)."""
    return apply(as_floats("sparse_sigmoid", x), Pointwise.SPARSE_SIGMOID)


def tanh(x: Any) -> Array:
    """y = tanh(x)."""
    return activate(as_floats("tanh", x), Activation.TANH)


def hard_tanh(x: Any) -> Array:
    """y = min(max(x, -1), 1)."""
    return apply(as_floats("hard_tanh", x), Pointwise.HARD_TANH)


def tanh_shrink(x: Any) -> Array:
    """y = x - tanh(x)."""
    return apply(as_floats("tanh_shrink", x), Pointwise.TANH_SHRINK)


def hard_shrink(x: Any, threshold: float = 0.5) -> Array:
    """y = x where |x| > threshold, else 0; `threshold` is at least 0."""
    return forwards.hard_shrink(as_floats("hard_shrink", x), threshold)[0]


def soft_shrink(x: Any, threshold: float = 0.5) -> Array:
    """y = sign(x) max(|x| - threshold, 0); `threshold` is at least 0."""
    return forwards.soft_shrink(as_floats("soft_shrink", x), threshold)[0]


def elu(x: Any, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else alpha (exp(x) - 1). Clevert et al. 2016, arXiv:1511.07289."""
    return forwards.elu(as_floats("elu", x), alpha)[0]


def selu(x: Any) -> Array:
    """y = s x where x > 0, else s a (exp(x) - 1), s = 1.0507…, a = 1.6733…. Klambauer et al. 2017, arXiv:1706.02515."""
    return apply(as_floats("selu", x), Pointwise.SELU)


def celu(x: Any, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else alpha (exp(x / alpha) - 1); `alpha` is above 0. Barron 2017, arXiv:1704.07483."""
    return forwards.celu(as_floats("celu", x), alpha)[0]


def gelu(x: Any, approximate: bool = False) -> Array:
    """y = x Phi(x), Phi the normal distribution's. Hendrycks 2016, arXiv:1606.08415.

    With `approximate`, y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """
    return activate(as_floats("gelu", x), forwards.gelu_form(approximate))


def silu(x: Any) -> Array:
    """y = x / (1 + exp(-x)), also called swish. Ramachandran et al. 2017, arXiv:1710.05941."""
    return activate(as_floats("silu", x), Activation.SILU)


def hard_silu(x: Any) -> Array:
    """y = x hard_sigmoid(x), also called hard_swish. Howard et al. 2019, arXiv:1905.02244."""
    return apply(as_floats("hard_silu", x), Pointwise.HARD_SILU)


def mish(x: Any) -> Array:
    """y = x tanh(log(1 + exp(x))). Misra 2019, arXiv:1908.08681."""
    return apply(as_floats("mish", x), Pointwise.MISH)


def softplus(x: Any) -> Array:
    """y = log(1 + exp(x))."""
    return activate(as_floats("softplus", x), Activation.SOFTPLUS)


def sparse_plus(x: Any) -> Array:
    """y = 0 where x <= -1, x where x >= 1, (x + 1)^2 / 4 between."""
    return apply(as_floats("sparse_plus", x), Pointwise.SPARSE_PLUS)


def squareplus(x: Any, b: float = 4) -> Array:
    """y = (x + sqrt(x^2 + b)) / 2; `b` is at least 0. Barron 2021, arXiv:2112.11687."""
    return forwards.squareplus(as_floats("squareplus", x), b)[0]


def softsign(x: Any) -> Array:
    """y = x / (1 + |x|)."""
    return apply(as_floats("softsign", x), Pointwise.SOFTSIGN)


def exponential(x: Any) -> Array:
    """y = exp(x)."""
    return apply(as_floats("exponential", x), Pointwise.EXPONENTIAL)


def threshold(x: Any, threshold: float, default_value: float) -> Array:
    """y = x where x > threshold, else default_value.

    >>> threshold([1.0, 2.0, 3.0], 1.5, -1.0)
    array([-1.,  2.,  3.], dtype=float32)
    """
    return forwards.threshold(as_floats("threshold", x), threshold, default_value)[0]


def softmax(x: Any, axis: int = -1) -> Array:
    """y[..., i, ...] = exp(x[..., i, ...]) / sum_j exp(x[..., j, ...]), i and j counting along `axis`.

    >>> softmax([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)
    """
    return forwards.softmax(as_floats("softmax", x), axis)[0]


def log_softmax(x: Any, axis: int = -1) -> Array:
    """y = log(softmax(x)) along `axis`, which is finite where the softmax would be too small."""
    return forwards.log_softmax(as_floats("log_softmax", x), axis)[0]


def sparsemax(x: Any, axis: int = -1) -> Array:
    """y = max(x - t, 0), with the t along `axis` that makes the sum 1. Martins and Astudillo 2016, arXiv:1602.02068.

    That is the paper's; where more than one element stays, Keras 3.15 takes another t, and its sum is below 1.

    >>> sparsemax([1.0, 0.5, -1.0])
    array([0.75, 0.25, 0.  ], dtype=float32)
    """
    return forwards.sparsemax(as_floats("sparsemax", x), axis)[0]


def glu(x: Any, axis: int = -1) -> Array:
    """y = a sigmoid(b), x being a and b side by side along `axis`. Dauphin et al. 2017, arXiv:1612.08083.

    >>> glu([3.0, 4.0, 0.0, 0.0])
    array([1.5, 2. ], dtype=float32)
    """
    return forwards.glu(as_floats("glu", x), axis)[0]
