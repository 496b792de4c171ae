"""Update rules in float64 numpy, written from their formulas. A rule is `(x, g, lr, t, memory) -> x`, t from 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rule = Callable[[np.ndarray, np.ndarray, float, int, dict], np.ndarray]


def run(rule: Rule, x: np.ndarray, gradient: Callable, rates: list[float]) -> np.ndarray:
    """All points after the first, one row an update."""
    memory: dict[str, np.ndarray] = {}
    points = []
    for t, lr in enumerate(rates, start=1):
        x = rule(x, gradient(x), lr, t, memory)
        points.append(x)
    return np.stack(points)


def sgd() -> Rule:
    return lambda x, g, lr, t, memory: x - lr * g


def momentum(mu: float) -> Rule:
    """Torch: b = mu b + g; x -= lr b."""

    def rule(x, g, lr, t, memory):
        memory["b"] = mu * memory.get("b", 0.0) + g
        return x - lr * memory["b"]

    return rule


def sutskever(mu: float) -> Rule:
    """Course notes: v = mu v - lr g; x += v."""

    def rule(x, g, lr, t, memory):
        memory["v"] = mu * memory.get("v", 0.0) - lr * g
        return x + memory["v"]

    return rule


def nesterov(mu: float) -> Rule:
    """Torch: b = mu b + g; x -= lr (g + mu b)."""

    def rule(x, g, lr, t, memory):
        memory["b"] = mu * memory.get("b", 0.0) + g
        return x - lr * (g + mu * memory["b"])

    return rule


def lecture_nesterov(rho: float) -> Rule:
    """Lecture: v = rho v - lr g; x += -rho v_old + (1 + rho) v."""

    def rule(x, g, lr, t, memory):
        old = memory.get("v", 0.0)
        memory["v"] = rho * old - lr * g
        return x - rho * old + (1 + rho) * memory["v"]

    return rule


def adagrad(eps: float, inside: bool = False, start: float = 0.0, lr_decay: float = 0.0) -> Rule:
    def rule(x, g, lr, t, memory):
        memory["s"] = memory.get("s", start) + g**2
        lr = lr / (1 + (t - 1) * lr_decay)
        return x - lr * g / _root(memory["s"], eps, inside)

    return rule


def rmsprop(
    decay: float,
    eps: float,
    *,
    inside: bool = False,
    start: float = 0.0,
    centered: bool = False,
    mu: float = 0.0,
    rate_inside: bool = False,
) -> Rule:
    def rule(x, g, lr, t, memory):
        memory["s"] = decay * memory.get("s", start) + (1 - decay) * g**2
        memory["a"] = decay * memory.get("a", 0.0) + (1 - decay) * g
        spread = memory["s"] - memory["a"] ** 2 if centered else memory["s"]
        step = g / _root(spread, eps, inside)
        memory["b"] = mu * memory.get("b", 0.0) + (lr * step if rate_inside else step)
        return x - (memory["b"] if rate_inside else lr * memory["b"])

    return rule


def adam(
    b1: float, b2: float, eps: float, *, correct: bool = True, inside: bool = False, eps_hat: bool = False
) -> Rule:
    """Kingma and Ba, algorithm 1; `eps_hat` is the last paragraph of their section 2."""

    def rule(x, g, lr, t, memory):
        memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
        memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g**2
        c1, c2 = (1 - b1**t, 1 - b2**t) if correct else (1.0, 1.0)
        if eps_hat:
            return x - lr * np.sqrt(c2) / c1 * memory["m"] / (np.sqrt(memory["v"]) + eps)
        return x - lr * (memory["m"] / c1) / _root(memory["v"] / c2, eps, inside)

    return rule


def coupled(rule: Rule, decay: float) -> Rule:
    """The gradient of half the decay times the squared norm is added to the gradient."""
    return lambda x, g, lr, t, memory: rule(x, g + decay * x, lr, t, memory)


def decoupled(rule: Rule, decay: float | np.ndarray) -> Rule:
    """Parameters shrink by lr * decay beside the step."""
    return lambda x, g, lr, t, memory: rule(x, g, lr, t, memory) - lr * decay * x


def clipped_by_value(rule: Rule, limit: float) -> Rule:
    return lambda x, g, lr, t, memory: rule(x, np.clip(g, -limit, limit), lr, t, memory)


def clipped_by_norm(rule: Rule, limit: float, eps: float = 0.0) -> Rule:
    def clipped(x, g, lr, t, memory):
        norm = np.sqrt(np.sum(g**2))
        return rule(x, g * min(1.0, limit / (norm + eps)), lr, t, memory)

    return clipped


def _root(square: np.ndarray, eps: float, inside: bool) -> np.ndarray:
    return np.sqrt(square + eps) if inside else np.sqrt(square) + eps


def max_norm(w, limit):
    """The columns (last axis) that are longer than the limit, shortened to it."""
    w = np.array(w, np.float64)
    columns = w.reshape(-1, w.shape[-1])
    for unit in columns.T:
        length = np.sqrt((unit**2).sum())
        if length > limit:
            unit *= limit / length
    return columns.reshape(w.shape)
