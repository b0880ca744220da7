"""What Muon does to matrices beside multiplying them, in place."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty, empty_like
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op
from gpunet.ops.update import THREADS, check_update, each_piece, launch_update

_FILE = "muon.cu"
_EPSILON = 1e-7  # added to the norm that is divided by


@op(lambda gradient, *_: 7 * gradient.size, changes=("momentum",))
def muon_momentum(gradient: Array, momentum: Array, kept: float, nesterov: bool) -> tuple[Array, Array]:
    """m += g + (kept - 1) m, in place; x = g + kept m with `nesterov`, else m; returns x, 1 / (norm of x + 1e-7).

    m is `momentum`, g `gradient`, x of their shape; the norm's inverse has shape (1,).
    """
    device = contract.floats("muon_momentum", gradient=gradient, momentum=momentum)
    contract.is_output("muon_momentum", gradient.shape, momentum=momentum)
    x, factor = empty(gradient.shape, gradient.dtype, device), empty((1,), gradient.dtype, device)
    if device.kind is not Kind.CPU:
        blocks = ceil_div(x.size, THREADS)
        squares = empty((blocks,), np.float64, device)
        args = (contiguous(gradient), momentum, x, squares, float(kept), float(kept) - 1, bool(nesterov))
        launch_update(_FILE, "muon_momentum", x, args)
        defines = {"THREADS": THREADS}
        numbers = (squares, factor, blocks)
        launch(_FILE, "muon_factor", grid=1, block=THREADS, args=numbers, real=x.dtype, defines=defines)
        return x, factor
    real = x.dtype.type
    share, loss = real(kept), real(float(kept) - 1)

    def work(g: HostArray, m: HostArray, x: HostArray) -> None:
        m += g + m * loss
        np.add(g, m * share, out=x) if nesterov else np.copyto(x, m)

    each_piece(work, contiguous(gradient), momentum, x)
    norm = real(np.sqrt(np.square(x, dtype=np.float64).sum()))
    factor[0] = real(1) / (norm + real(_EPSILON))
    return x, factor


@op(lambda x, *_: 3 * x.size, changes=("y",))
def combine(x: Array, y: Array, a: float, b: float) -> None:
    """y = a x + b y, in place; `x` and `y` have one shape.

    >>> y = np.array([1.0, 2.0])
    >>> combine(np.array([10.0, 20.0]), y, 0.5, 3.0)
    >>> y
    array([ 8., 16.])
    """
    device = contract.floats("combine", x=x, y=y)
    contract.is_output("combine", x.shape, y=y)
    if device.kind is not Kind.CPU:
        launch_update(_FILE, "combine", y, (contiguous(x), y, float(a), float(b)))
        return
    factor, kept = x.dtype.type(a), x.dtype.type(b)

    def work(x: HostArray, y: HostArray) -> None:
        y *= kept
        y += x * factor

    each_piece(work, contiguous(x), y)


@op(lambda w, *_: 3 * w.size, changes=("w",))
def muon(w: Array, step: Array, learning_rate: Array, factor: float) -> None:
    """w -= learning_rate factor step, in place; `learning_rate` is float64 (1,), `step` of w's shape."""
    device = check_update("muon", w, step, "learning_rate", learning_rate)
    if device.kind is not Kind.CPU:
        launch_update(_FILE, "muon", w, (w, contiguous(step), learning_rate, float(factor)))
        return
    rate, times = w.dtype.type(learning_rate[0]), w.dtype.type(factor)

    def work(w: HostArray, x: HostArray) -> None:
        change = np.multiply(x, rate, out=empty_like(x))
        change *= times
        w -= change

    each_piece(work, w, contiguous(step))
