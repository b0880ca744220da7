"""JAX by itself: one jitted function for a whole training step, Adam included, and one for inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.cases import models
from bench.cases.case import Data, HostArray
from bench.rivals.side import Side

_BETA_1, _BETA_2 = 0.9, 0.999


class JaxSide(Side):
    def __init__(self, mode: str, device: str, threads: int) -> None:
        super().__init__(mode, device, threads)
        jax.config.update("jax_default_matmul_precision", "float32")
        found = jax.default_backend()
        assert (found == "gpu") == (device == "cuda"), f"JAX runs on {found}"

    def versions(self) -> dict[str, str]:
        return {"JAX": jax.__version__}

    def synchronize(self) -> None:
        """Both calls wait for their results."""

    def to_host(self, outputs: Any) -> HostArray:
        return np.asarray(outputs)

    def device_memory(self) -> int | None:
        statistics = jax.devices()[0].memory_stats()
        return int(statistics["peak_bytes_in_use"]) if self.device == "cuda" and statistics else None

    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        network = models.NETWORKS[name]
        weights = [(jnp.asarray(w), jnp.asarray(b)) for w, b in network.weights()]
        x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])
        zeros = jax.tree.map(jnp.zeros_like, weights)
        state = [weights, zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros((), jnp.int32)]

        def loss(weights: Any, x: Any, y: Any) -> Any:
            logits = _logits(network, weights, x)
            chosen = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
            return (jax.nn.logsumexp(logits, axis=1) - chosen).mean()

        def step(weights: Any, m: Any, v: Any, count: Any, x: Any, y: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(weights, x, y)
            count = count + 1
            size = models.LEARNING_RATE * jnp.sqrt(1 - _BETA_2**count) / (1 - _BETA_1**count)
            m = jax.tree.map(lambda m, g: m + (1 - _BETA_1) * (g - m), m, gradient)
            v = jax.tree.map(lambda v, g: v + (1 - _BETA_2) * (g * g - v), v, gradient)
            weights = jax.tree.map(lambda w, m, v: w - size * m / (jnp.sqrt(v) + models.EPSILON), weights, m, v)
            return value, weights, m, v, count

        jitted = jax.jit(step, donate_argnums=(0, 1, 2, 3))
        inferred = jax.jit(lambda weights, x: jax.nn.softmax(_logits(network, weights, x)))

        def train() -> float:
            value, *state[:] = jitted(*state, x, y)
            return float(value)

        return train, lambda: inferred(state[0], x).block_until_ready()


def _logits(network: models.Network, weights: Any, x: Any) -> Any:
    pairs = iter(weights)
    for layer in network.layers:
        match layer:
            case models.Conv(_, padding):
                w, b = next(pairs)
                x = lax.conv_general_dilated(x, w, (1, 1), padding.upper(), dimension_numbers=("NHWC", "HWIO", "NHWC"))
                x = jax.nn.relu(x + b)
            case models.Pool():
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
            case models.Flatten():
                x = x.reshape(x.shape[0], -1)
            case models.Dense():
                w, b = next(pairs)
                x = x @ w + b
                x = x if layer is network.layers[-1] else jax.nn.relu(x)
    return x


SIDE = JaxSide
