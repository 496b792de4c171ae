"""Optimizers on functions of a few variables, where the whole path can be seen."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from experiments.studies import Result
from experiments.studies.drawing import canvas, save

OPTIMIZERS: dict[str, Callable[[Any], optim.GradientTransformation]] = {
    "SGD": optim.sgd,
    "momentum": optim.momentum,
    "Nesterov": optim.nesterov,
    "AdaGrad": optim.adagrad,
    "RMSProp": optim.rmsprop,
    "Adam": optim.adam,
}
RATES = tuple(10.0 ** (k / 4) for k in range(-16, 5))  # 1e-4 to 10, four a decade


class Landscape(NamedTuple):
    """A function, where to start, and what counts as arrived."""

    height: Callable[[Any], Any]
    start: tuple[float, float]
    arrived: Callable[[Any], Any]  # point -> bool
    steps: int
    window: tuple[float, float, float, float]  # of the picture: left, right, bottom, top


LANDSCAPES = {
    "saddle": Landscape(
        lambda x: x[0] ** 2 - x[1] ** 2,
        (1.0, 1e-6),
        lambda x: jnp.abs(x[1]) > 1,
        1000,
        (-1.2, 1.2, -0.2, 1.4),
    ),
    "quadratic": Landscape(
        # The long axis lies at 30 degrees: along the axes, a step by the sign of the gradient could hit the minimum.
        lambda x: 0.5 * (0.866 * x[0] + 0.5 * x[1]) ** 2 + 50 * (0.866 * x[1] - 0.5 * x[0]) ** 2,
        (1.0, -0.3),
        lambda x: jnp.linalg.norm(x) < 1e-3,
        3000,
        (-0.6, 1.2, -1.0, 0.8),
    ),
    "rosenbrock": Landscape(
        lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2,
        (-1.5, 2.0),
        lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2 < 1e-3,
        20_000,
        (-2.0, 1.6, -0.6, 3.0),
    ),
}
DRAWN = 400  # updates of each path, at most
SADDLE_RATE = 0.01  # of all optimizers alike: on a saddle, the larger the rate the sooner, without bound


def walk(make: Callable[[Any], optim.GradientTransformation], land: Landscape, rates: Any, steps: int) -> np.ndarray:
    """The points of a run at each of several rates [rates, steps + 1, 2], in float64."""
    slope = jax.grad(land.height)

    def one(rate: Any) -> Any:
        optimizer = make(rate)
        start = jnp.array(land.start)

        def update(carry: Any, _: Any) -> tuple[Any, Any]:
            x, state = carry
            updates, state = optimizer.update(slope(x), state, x)
            x = optim.apply_updates(x, updates)
            return (x, state), x

        _, path = jax.lax.scan(update, (start, optimizer.init(start)), length=steps)
        return jnp.concatenate([start[None], path])

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(rates)))


def arrival(land: Landscape, paths: np.ndarray) -> np.ndarray:
    """Updates until a path first arrives [rates]; infinite where it does not."""
    there = np.asarray(jax.vmap(jax.vmap(land.arrived))(jnp.asarray(paths)))
    return np.where(there.any(axis=1), there.argmax(axis=1), np.inf)


def optimizers(workdir: Path, quick: bool) -> Result:
    """The six optimizers on a saddle, a quadratic with condition number 100 and Rosenbrock's valley."""
    numbers: dict[str, float] = {}
    figure, axes = canvas(1, 3)
    with jax.enable_x64(True):
        for axis, (name, land) in zip(axes, LANDSCAPES.items()):
            contours(axis, name, land)
            for kind, make in OPTIMIZERS.items():
                rates = (SADDLE_RATE,) if name == "saddle" else RATES
                paths = walk(make, land, rates, land.steps // 10 if quick else land.steps)
                needed = arrival(land, paths)
                best = int(np.argmin(needed))
                numbers[f"{name}: {kind}"] = float(needed[best])
                path = paths[best][: 1 + int(min(needed[best], DRAWN))]
                under = 1 if needed[best] > DRAWN else 2  # long paths do not hide the short ones
                axis.plot(
                    *path.T,
                    linewidth=1.2 * under,
                    alpha=0.4 * under,
                    zorder=under,
                    label=f"{kind}: {words(needed[best])}, rate {rates[best]:.2g}",
                )
            axis.legend(fontsize=7)
    save(figure, path := workdir / "optimizers.png")
    by = {name: order(numbers, name) for name in LANDSCAPES}
    sentence = (
        f"At the same rate of {SADDLE_RATE}, {by['saddle'][0]} leaves the saddle first and {by['saddle'][-1]} last; "
        f"each at its best of {len(RATES)} rates, first and last on the quadratic of condition number 100 are "
        f"{by['quadratic'][0]} and {by['quadratic'][-1]}, in Rosenbrock's valley {by['rosenbrock'][0]} and "
        f"{by['rosenbrock'][-1]} (numbers of updates)."
    )
    return Result(path, numbers, sentence)


def order(numbers: dict[str, float], land: str) -> list[str]:
    """'Adam (101)', … from the fastest to the slowest."""
    here = {key.partition(": ")[2]: value for key, value in numbers.items() if key.startswith(f"{land}: ")}
    return [f"{kind} ({words(here[kind])})" for kind in sorted(here, key=here.__getitem__)]


def words(count: float) -> str:
    """A number of updates, or that there were not enough."""
    return f"{count:.0f}" if math.isfinite(count) else "not in time"


def contours(axis: Any, name: str, land: Landscape) -> None:
    """The level lines below the paths."""
    left, right, bottom, top = land.window
    x, y = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    z = np.asarray(land.height(np.stack([x, y])))
    axis.contour(x, y, np.sign(z) * np.log1p(np.abs(z)), levels=20, colors="gray", linewidths=0.4)
    axis.set(title=name, xlim=(left, right), ylim=(bottom, top))


def momentum_vs_kappa(workdir: Path, quick: bool) -> Result:
    """Updates against the condition number κ: gradient descent needs about κ of them, momentum about √κ."""
    kappas = 10.0 ** np.arange(1, 3.1 if quick else 4.1, 0.5)
    counts: dict[str, list[float]] = {"gradient descent": [], "momentum": []}
    with jax.enable_x64(True):
        for kappa in kappas:
            root = math.sqrt(kappa)
            plain = optim.sgd(2 / (1 + kappa))
            heavy = optim.momentum(4 / (root + 1) ** 2, ((root - 1) / (root + 1)) ** 2)
            counts["gradient descent"].append(updates_needed(plain, kappa))
            counts["momentum"].append(updates_needed(heavy, kappa))
    slopes = {name: float(np.polyfit(np.log(kappas[2:]), np.log(c[2:]), 1)[0]) for name, c in counts.items()}
    figure, (axis,) = canvas(1, 1)
    for name, values in counts.items():
        axis.loglog(kappas, values, "o-", label=f"{name}: exponent {slopes[name]:.2f}")
    axis.set(xlabel="condition number κ", ylabel="updates to 1e-6 of the distance")
    axis.legend()
    save(figure, path := workdir / "momentum_vs_kappa.png")
    numbers = {f"{name}, κ = {k:.0f}": v for name, values in counts.items() for k, v in zip(kappas, values)}
    numbers |= {f"exponent of {name}": slope for name, slope in slopes.items()}
    plain, heavy = (counts[name][-1] for name in counts)
    sentence = (
        f"At the best constant rates gradient descent needs updates like κ^{slopes['gradient descent']:.2f} and "
        f"momentum like κ^{slopes['momentum']:.2f}: at κ = {kappas[-1]:.0f}, {plain:.0f} against {heavy:.0f}, "
        f"{plain / heavy:.0f} times fewer (√κ = {kappas[-1] ** 0.5:.0f})."
    )
    return Result(path, numbers, sentence)


def updates_needed(optimizer: optim.GradientTransformation, kappa: float) -> float:
    """Updates until the distance to the minimum of a quadratic with eigenvalues 1 … κ has shrunk to a millionth."""
    curvature = jnp.geomspace(1.0, kappa, 20)
    start = jnp.ones(20)
    target = 1e-6 * jnp.linalg.norm(start)

    def update(carry: Any) -> Any:
        count, x, state = carry
        updates, state = optimizer.update(curvature * x, state, x)
        return count + 1, optim.apply_updates(x, updates), state

    def goes_on(carry: Any) -> Any:
        return (jnp.linalg.norm(carry[1]) > target) & (carry[0] < 10_000_000)

    run = jax.jit(lambda: jax.lax.while_loop(goes_on, update, (0, start, optimizer.init(start)))[0])
    return float(run())


STUDIES = {"optimizers": optimizers, "momentum_vs_kappa": momentum_vs_kappa}
