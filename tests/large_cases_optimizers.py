"""Updates of optimizers on arrays of more than 2^32 elements, for large_cases.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunet.ops import adam, averaging, ftrl, lion, muon, rmsprop


def runs(normal: Any, placed: Any, wide: int) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Return what each case runs, and the arrays that it gets."""
    w, g, m, v, d = (
        normal(wide),
        normal(wide, seed=1),
        normal(wide, seed=2),
        *(abs(normal(wide, seed=s)) for s in (3, 4)),
    )

    def rate() -> Any:
        return placed([0.1], np.float64)

    def factors() -> Any:
        return placed([0.1, 0.9, 0.2, 0.5, 0.7, 3.0], np.float64)

    def count() -> Any:
        return placed([4], np.int64)

    return {
        "amsgrad": (
            lambda w, g, m, v, d: (adam.adam(w, g, m, v, rate(), 0.9, 0.99, 1e-7, d), (w, m, v, d))[1],
            (w, g, m, v, d),
        ),
        "adamax": (lambda w, g, m, v: (adam.adamax(w, g, m, v, rate(), 0.9, 0.99, 1e-7), (w, m, v))[1], (w, g, m, v)),
        "nadam": (lambda w, g, m, v: (adam.nadam(w, g, m, v, factors(), 0.9, 0.99, 1e-7), (w, m, v))[1], (w, g, m, v)),
        "rmsprop": (
            lambda w, g, m, v: (rmsprop.rmsprop(w, g, v, None, m, rate(), 0.9, 0.8, 1e-7), (w, m, v))[1],
            (w, g, m, v),
        ),
        "adagrad": (lambda w, g, v: (rmsprop.adagrad(w, g, v, rate(), 1e-7), (w, v))[1], (w, g, v)),
        "adadelta": (lambda w, g, v, d: (rmsprop.adadelta(w, g, v, d, rate(), 0.9, 1e-7), (w, v, d))[1], (w, g, v, d)),
        "lion": (lambda w, g, m: (lion.lion(w, g, m, rate(), 0.9, 0.99), (w, m))[1], (w, g, m)),
        "ftrl": (
            lambda w, g, v, m: (ftrl.ftrl(w, g, v, m, rate(), 0.5, 0.1, 0.1, 0.1, 0.1), (w, v, m))[1],
            (w, g, v, m),
        ),
        "average": (lambda w, m: (averaging.average(w, m, count(), 0.9, 1, 2), (w, m))[1], (w, m)),
        "mean_gradient": (lambda g, m: (averaging.mean_gradient(g, m, 3), (g, m))[1], (g, m)),
        "swap": (lambda w, m: (averaging.swap(w, m), (w, m))[1], (w, m)),
        "combine": (lambda g, m: (muon.combine(g, m, 0.3, 0.7), m)[1], (g, m)),
        "muon": (lambda w, g: (muon.muon(w, g, rate(), 0.3), w)[1], (w, g)),
    }
