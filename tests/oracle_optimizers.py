"""Formulas of optimizers and schedules in plain NumPy, as their papers and Keras have them; never imports gpunet.

An optimizer gets w, the gradients of its steps, and its arguments; it returns w after each step, in w's dtype.
"""

from __future__ import annotations

import numpy as np


def rmsprop(w, gradients, learning_rate, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    v, a, m, steps = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), []
    for g in gradients:
        v = rho * v + (1 - rho) * g**2
        a = rho * a + (1 - rho) * g
        variance = v - a**2 if centered else v
        m = momentum * m + learning_rate * g / np.sqrt(variance + epsilon)
        w = w - m
        steps.append(w)
    return steps


def adam(w, gradients, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False, weight_decay=0.0):
    m, v, hat, steps = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), []
    for t, g in enumerate(gradients, start=1):
        w = w - weight_decay * learning_rate * w
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        hat = np.maximum(hat, v) if amsgrad else v
        rate = learning_rate * (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)
        w = w - rate * m / (np.sqrt(hat) + epsilon)
        steps.append(w)
    return steps


adamw = adam


def adamax(w, gradients, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, u, steps = np.zeros_like(w), np.zeros_like(w), []
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        u = np.maximum(beta_2 * u, abs(g))
        w = w - learning_rate / (1 - beta_1**t) * m / (u + epsilon)
        steps.append(w)
    return steps


def nadam(w, gradients, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v, steps = np.zeros_like(w), np.zeros_like(w), []
    mus = [beta_1 * (1 - 0.5 * 0.96**t) for t in range(1, len(gradients) + 2)]
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        now, following = float(np.prod(mus[:t])), float(np.prod(mus[: t + 1]))
        mean = mus[t] * m / (1 - following) + (1 - mus[t - 1]) * g / (1 - now)
        w = w - learning_rate * mean / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        steps.append(w)
    return steps


def adagrad(w, gradients, learning_rate, initial_accumulator_value=0.1, epsilon=1e-7):
    total, steps = np.full_like(w, initial_accumulator_value), []
    for g in gradients:
        total = total + g**2
        w = w - learning_rate * g / np.sqrt(total + epsilon)
        steps.append(w)
    return steps


def adadelta(w, gradients, learning_rate, rho=0.95, epsilon=1e-7):
    squares, deltas, steps = np.zeros_like(w), np.zeros_like(w), []
    for g in gradients:
        squares = rho * squares + (1 - rho) * g**2
        delta = np.sqrt(deltas + epsilon) / np.sqrt(squares + epsilon) * g
        deltas = rho * deltas + (1 - rho) * delta**2
        w = w - learning_rate * delta
        steps.append(w)
    return steps


def lion(w, gradients, learning_rate, beta_1=0.9, beta_2=0.99):
    m, steps = np.zeros_like(w), []
    for g in gradients:
        w = w - learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g)
        m = beta_2 * m + (1 - beta_2) * g
        steps.append(w)
    return steps


def ftrl(
    w,
    gradients,
    learning_rate,
    learning_rate_power=-0.5,
    initial_accumulator_value=0.1,
    l1_regularization_strength=0.0,
    l2_regularization_strength=0.0,
    l2_shrinkage_regularization_strength=0.0,
    beta=0.0,
):
    n, z, steps = np.full_like(w, initial_accumulator_value), np.zeros_like(w), []
    l1, l2 = l1_regularization_strength, l2_regularization_strength + beta / (2 * learning_rate)
    for g in gradients:
        new = n + g**2
        sigma = (new**-learning_rate_power - n**-learning_rate_power) / learning_rate
        z = z + g + 2 * l2_shrinkage_regularization_strength * w - sigma * w
        n = new
        shrunk = np.sign(z) * np.maximum(abs(z) - l1, 0)
        w = -shrunk / (n**-learning_rate_power / learning_rate + 2 * l2)
        steps.append(w)
    return steps


def lamb(w, gradients, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v, steps = np.zeros_like(w), np.zeros_like(w), []
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        step = m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        of_w, of_step = np.sqrt((w**2).sum()), np.sqrt((step**2).sum())
        w = w - learning_rate * (of_w / of_step if of_w > 0 and of_step > 0 else 1) * step
        steps.append(w)
    return steps


def adafactor(w, gradients, learning_rate, beta_2_decay=-0.8, epsilon_1=1e-30, epsilon_2=1e-3, clip_threshold=1.0):
    """Matrices factored whatever their sides, as in the paper."""
    v, r, c, steps = np.zeros_like(w), 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        old, squares = 1 - t**beta_2_decay, g**2 + epsilon_1
        v = old * v + (1 - old) * squares
        if w.ndim >= 2:
            r = old * r + (1 - old) * squares.mean(axis=-1)
            c = old * c + (1 - old) * squares.mean(axis=-2)
            v = np.einsum("...i,...j->...ij", r, c) / r.mean(axis=-1)[..., None, None]
        step = g / np.sqrt(v)
        step = step / max(1.0, np.sqrt((step**2).mean()) / clip_threshold)
        w = w - max(epsilon_2, np.sqrt((w**2).mean())) * min(learning_rate, t**-0.5) * step
        steps.append(w)
    return steps


def muon(w, gradients, learning_rate, momentum=0.95, nesterov=True, ns_steps=5, rms_rate=0.2):
    """The update of a matrix."""
    m, steps = np.zeros_like(w), []
    for g in gradients:
        m = momentum * m + g
        x = g + momentum * m if nesterov else m
        x = x / (np.sqrt((x**2).sum()) + 1e-7)
        for _ in range(ns_steps):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        w = w - learning_rate * (1 if rms_rate is None else rms_rate * max(w.shape) ** 0.5) * x
        steps.append(w)
    return steps


# Schedules.


def exponential_decay(step, initial_learning_rate, decay_steps, decay_rate, staircase=False):
    p = step // decay_steps if staircase else step / decay_steps
    return initial_learning_rate * decay_rate**p


def inverse_time_decay(step, initial_learning_rate, decay_steps, decay_rate, staircase=False):
    return initial_learning_rate / (1 + decay_rate * (step // decay_steps if staircase else step / decay_steps))


def polynomial_decay(step, initial_learning_rate, decay_steps, end_learning_rate=1e-4, power=1.0, cycle=False):
    if cycle:
        decay_steps = decay_steps * max(1, int(np.ceil(step / decay_steps)))
    rest = 1 - min(step / decay_steps, 1)
    return (initial_learning_rate - end_learning_rate) * rest**power + end_learning_rate


def piecewise_constant_decay(step, boundaries, values):
    return next((value for end, value in zip(boundaries, values, strict=False) if step <= end), values[-1])


def cosine_decay(step, initial_learning_rate, decay_steps, alpha=0.0, warmup_target=None, warmup_steps=0):
    if warmup_target is not None:
        if step < warmup_steps:
            return initial_learning_rate + (warmup_target - initial_learning_rate) * step / warmup_steps
        initial_learning_rate, step = warmup_target, step - warmup_steps
    share = min(step, decay_steps) / decay_steps
    return initial_learning_rate * ((1 - alpha) * np.cos(np.pi * share / 2) ** 2 + alpha)


def cosine_decay_restarts(step, initial_learning_rate, first_decay_steps, t_mul=2.0, m_mul=1.0, alpha=0.0):
    length, height = first_decay_steps, 1.0
    while step >= length:
        step, length, height = step - length, length * t_mul, height * m_mul
    return initial_learning_rate * ((1 - alpha) * height * np.cos(np.pi * step / length / 2) ** 2 + alpha)
