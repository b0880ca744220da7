"""Random valid calls of the ops of optimizers and schedules, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from draws import Draw

from gpunet.backend.arrays import EMULATED, Array
from gpunet.ops import averaging, muon, optimizer_step
from gpunet.ops.adafactor import adafactor
from gpunet.ops.adam import adam, adamax, nadam
from gpunet.ops.flat import Layout
from gpunet.ops.ftrl import ftrl
from gpunet.ops.lamb import lamb
from gpunet.ops.learning_rate import Formula, scheduled_rate
from gpunet.ops.lion import lion
from gpunet.ops.preparation import Rules
from gpunet.ops.rmsprop import adadelta, adagrad, rmsprop

_SCHEDULES = (
    (Formula.EXPONENTIAL, (0.1, 7.0, 0.9, 1.0)),
    (Formula.INVERSE_TIME, (0.1, 7.0, 0.9, 0.0)),
    (Formula.POLYNOMIAL, (0.1, 7.0, 0.01, 0.5, 1.0)),
    (Formula.COSINE, (0.1, 30.0, 0.1, 0.4, 9.0)),
    (Formula.RESTARTS, (0.1, 3.0, 1.5, 0.9, 0.1)),
    (Formula.PIECES, (2.0, 5.0, 9.0, 0.1, 0.2, 0.3)),
)


def element_wise_updates(d: Draw) -> Sequence[Array]:
    n = d.size(1, 3000)
    w, g, rate = [d.array(n) for _ in range(7)], d.array(n), d.on([0.1])
    s = [d.probabilities(n) for _ in range(15)]
    adam(w[0], g, s[0], s[1], rate, 0.9, 0.999, 1e-7, d.maybe(s[2]))
    adamax(w[1], g, s[3], s[4], rate, 0.9, 0.999, 1e-7)
    nadam(w[2], g, s[5], s[6], d.on([0.1, 0.9, 0.2, 0.5, 0.7, 3.0]), 0.9, 0.999, 1e-7)
    rmsprop(w[3], g, s[7], d.maybe(s[8]), d.maybe(s[9]), rate, 0.9, 0.8, 1e-7)
    adagrad(w[4], g, s[10], rate, 1e-7)
    adadelta(w[5], g, s[11], s[12], rate, 0.9, 1e-7)
    lion(w[6], g, s[13], rate, 0.9, 0.99)
    return *w, *s


def leader(d: Draw) -> Sequence[Array]:
    n = d.size(1, 3000)
    w, v, linear = d.array(n), d.probabilities(n), d.array(n)
    ftrl(w, d.array(n), v, linear, d.on([0.1]), d.one_of(0.5, 0.7), d.real(), d.real(), d.real(), d.real())
    return w, v, linear


def flat_lamb(d: Draw) -> Sequence[Array]:
    layout = Layout([(d.size(1, 700),) for _ in range(d.size(1, 5))])
    count = len(layout.shapes)
    rules = Rules(layout, [(0.0, 0.0)] * count, [0.0] * count, d.dtype, EMULATED)
    first = d.size(0, count - 1)
    run = slice(first, d.size(first + 1, count))
    span = layout.span(run.start, run.stop)
    n = span.stop - span.start
    arrays = d.array(n), d.array(n), d.array(n), d.probabilities(n)
    lamb(*arrays, rules, run, d.on([0.1]), d.on([0.5, 0.3]), 0.9, 0.999, 1e-7)
    return arrays


def factored(d: Draw) -> Sequence[Array]:
    shape = tuple(d.size(1, 40) for _ in range(d.size(1, 4)))
    w, g, v = d.array(*shape), d.array(*shape), d.probabilities(*shape)
    adafactor(w, g, v, d.on([0.1, 0.7, 0.3]), 1e-30, 1e-3, d.real(0.1, 2))
    return w, g, v


def orthogonal(d: Draw) -> Sequence[Array]:
    shape = (d.size(1, 90), d.size(1, 90))
    w, m, y = d.array(*shape), d.array(*shape), d.array(*shape)
    x, factor = muon.muon_momentum(d.array(*shape), m, 0.9, d.one_of(True, False))
    muon.combine(x, y, d.real(), d.real())
    muon.muon(w, y, d.on([0.1]), d.real())
    return w, m, x, y, factor


def averages(d: Draw) -> Sequence[Array]:
    n = d.size(1, 3000)
    w, a, g, total = d.array(n), d.array(n), d.array(n), d.array(n)
    averaging.average(w, a, d.on(np.array([d.size(1, 9)])), d.real(), d.size(1, 3), d.size(0, 3))
    averaging.mean_gradient(g, total, d.size(2, 9))
    averaging.swap(w, g)
    return w, a, g, total


def step_counts(d: Draw) -> Sequence[Array]:
    step, rate, every = d.on(np.array([d.size(3, 99)])), d.on(np.zeros(1)), d.size(1, 3)
    six, two, three = d.on(np.zeros(6)), d.on(np.zeros(2)), d.on(np.zeros(3))
    formula, numbers = d.one_of(*_SCHEDULES)
    scheduled_rate(step, d.on(numbers), rate, formula)
    optimizer_step.advance_nadam(step, rate, six, 0.9, 0.999, every)
    optimizer_step.advance_lamb(step, two, 0.9, 0.999, every)
    optimizer_step.advance_adafactor(step, rate, three, -0.8, every)
    return step, rate, six, two, three


CASES = (element_wise_updates, leader, flat_lamb, factored, orthogonal, averages, step_counts)
