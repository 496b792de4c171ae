"""What the slips in the lecture notes' optimizers do; the library has the right forms (optim.lecture)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import optim
from experiments.studies import Result
from experiments.studies.drawing import canvas, save

STEPS = 200
DECAYS = (0.9, 0.99)


def optimizer_bugs(workdir: Path, quick: bool) -> Result:
    """The notes' RMSProp with `+=`, Adam stepping with uncorrected moments, and Adam counting from t = 0."""
    steps = 150 if quick else STEPS
    numbers: dict[str, float] = {}
    figure, (left, right) = canvas(1, 2)
    for decay in DECAYS:
        sums, wrong = rmsprop_with_plus_equals(decay, steps)
        good = steps_of(optim.rmsprop(1.0, decay, eps=0.0), steps)
        overflow = int(np.argmax(np.isinf(sums))) + 1
        numbers |= {
            f"RMSProp {decay}, +=: s after 50 updates": float(sums[49]),
            f"RMSProp {decay}, +=: update at which s overflows float32": overflow,
            f"RMSProp {decay}, +=: step after that": float(wrong[overflow]),
            f"RMSProp {decay}: step 100": float(good[99]),
        }
        left.semilogy(np.maximum(wrong, 1e-20), label=f"s += …, decay {decay}")
        left.semilogy(good, label=f"s = …, decay {decay}")
    left.set(title="RMSProp, gradient 1, rate 1", xlabel="update", ylabel="length of the step")
    left.legend()

    ratio = steps_of(optim.lecture.adam_almost(1.0), steps) / steps_of(optim.lecture.adam(1.0), steps)
    worst = int(np.argmax(ratio))
    numbers |= {
        "Adam, uncorrected: first step, times too long": float(ratio[0]),
        "Adam, uncorrected: longest step, times too long": float(ratio[worst]),
        "Adam, uncorrected: at update": worst + 1,
        "Adam, t from 0: first step is finite": float(np.isfinite(adam_from_zero())),
    }
    right.plot(np.arange(1, steps + 1), ratio)
    right.set(title="Adam without correction", xlabel="update t", ylabel="step / corrected step")
    save(figure, path := workdir / "optimizer_bugs.png")
    overflows = " and ".join(str(numbers[f"RMSProp {d}, +=: update at which s overflows float32"]) for d in DECAYS)
    right_steps = " and ".join(f"{numbers[f'RMSProp {d}: step 100']:.7g}" for d in DECAYS)
    sentence = (
        f"With += RMSProp's sum grows until it overflows float32 at update {overflows} (decay 0.9 and 0.99); from then "
        f"on the step is 0, where the library's is {right_steps} rates at update 100; Adam with uncorrected moments "
        f"takes a first step {ratio[0]:.3f} times too long, at worst {ratio[worst]:.2f} times (update {worst + 1}); "
        "counted from t = 0 its first corrected step is not a number."
    )
    return Result(path, numbers, sentence)


def steps_of(optimizer: optim.GradientTransformation, steps: int) -> np.ndarray:
    """The lengths of the updates for a gradient that is always 1 [steps], in float64."""

    def update(state: tuple, _: None) -> tuple:
        step, state = optimizer.update(jnp.ones(()), state)
        return state, -step

    with jax.enable_x64(True):
        return np.asarray(jax.lax.scan(update, optimizer.init(jnp.ones(())), length=steps)[1])


def rmsprop_with_plus_equals(decay: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """s += decay·s + (1 − decay)·g² in float32, g = 1: s and the step g/(√s + 1e-7) [steps]."""
    s, sums = np.float32(0), []
    with np.errstate(over="ignore"):
        for _ in range(steps):
            s = np.float32(s + np.float32(decay) * s + np.float32(1 - decay))
            sums.append(s)
        return np.array(sums), 1 / (np.sqrt(np.array(sums)) + np.float32(1e-7))


def adam_from_zero() -> float:
    """m̂ / (√v̂ + eps) of the notes' loop at t = 0, where it divides by 1 − β⁰ = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = np.float64(0.1) / (1 - 0.9**0), np.float64(0.001) / (1 - 0.999**0)
        return float(first / (np.sqrt(second) + 1e-7))


STUDIES = {"optimizer_bugs": optimizer_bugs}
