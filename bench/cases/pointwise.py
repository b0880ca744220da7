"""An element-wise activation with a kernel of its own: y = x tanh(log(1 + exp(x))), Mish, and dx."""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops.pointwise import Pointwise, pointwise, pointwise_gradient
from gpunet.ops.trace import flops_of


def data(sizes: Mapping[str, int]) -> Data:
    shape = sizes["n"], sizes["features"]
    return {"x": numbers(1, *shape), "dy": numbers(2, *shape)}


def _flops(*shape: int) -> int:
    x = array(*shape)
    return flops_of(pointwise, x, Pointwise.MISH) + flops_of(pointwise_gradient, x, x, Pointwise.MISH)


CASES = tuple(
    Case(
        "mish",
        f"{n}x{features}",
        {"n": n, "features": features},
        flops=_flops(n, features),
        bytes=5 * float_bytes(n * features),
        make_data=data,
        quick=n == 128,
    )
    for n, features in ((128, 1024), (512, 8192))
)
