"""The ops that merge several arrays, in the large: for large_cases.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunet.ops import merging
from gpunet.ops.batch_dot import batch_dot, batch_dot_gradient, normalize, normalize_gradient
from gpunet.ops.merging import Merge


def cases(case: Callable[..., Any], normal: Callable[..., Any]) -> dict[str, Any]:
    """Return the cases by name, made by those of large_cases.py."""

    def side_by_side(x0: Any, x1: Any) -> Any:
        y = merging.concatenate([x0, x1], 1)
        return y, *merging.split(y, [3, 2], 1)

    def repeated(x: Any, dy: Any) -> Any:
        return merging.spread(x, (len(x), 3, 5)), merging.spread_gradient(dy, x.shape)

    pair = normal(6), normal(6, seed=1)
    return {
        "merge": case(lambda a, b: merging.merge([a, b], Merge.MAXIMUM), pair),
        "merge, gradient": case(
            lambda dy, a, b: merging.choice_gradient(dy, a, b, Merge.MINIMUM), (normal(6, seed=2), *pair)
        ),
        "concatenate": case(side_by_side, (normal(3), normal(2, seed=1))),
        "repeat": case(repeated, (normal(1, 5), normal(3, 5, seed=1))),
        "batch dot": case(lambda a, b: batch_dot(a, b, (1, 1)), (normal(2, 3), normal(2, 4, seed=1))),
        "batch dot, gradient": case(
            lambda dy, a, b: batch_dot_gradient(dy, a, b, (1, 1)),
            (normal(3, 4, seed=2), normal(2, 3), normal(2, 4, seed=1)),
        ),
        "length one": case(lambda x: normalize(x, 1), (normal(4, 2),)),
        "length one, gradient": case(lambda dy, x: normalize_gradient(dy, x, 1), (normal(4, 2, seed=1), normal(4, 2))),
    }
