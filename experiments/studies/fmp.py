"""Fractional max pooling at inference: the test error of an average over random passes, by their number."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax import models, optim
from cs231n_jax.models import functional
from cs231n_jax.ops.losses import softmax_cross_entropy
from experiments.studies import Result, seeds
from experiments.studies.digit_runs import batches, digits
from experiments.studies.drawing import canvas, save

RATE = 2e-3  # of Adam
PASSES = (1, 2, 4, 8, 16, 32)


def passes(workdir: Path, quick: bool) -> Result:
    """Test error of a small fractional max-pooling network, averaged over 1 to 32 random passes, and of a fixed pass.

    (16n C2 − FMP√2)₃ − C2 − C1 − output, random overlapping regions, on scikit-learn's digits (898 training and 899
    test images of 8×8); Adam, batches of 64, no augmentation. Probabilities are averaged. The error of k passes is the
    mean over the 32 / k groups that 32 passes make, then over seeds of the whole training. The fixed pass takes the
    pseudorandom regions of u = ½.

    Reference: Graham 2014, "Fractional Max-Pooling", section 4: CIFAR-10 error of 3.5 % with a
    hundred passes.
    """
    repeats, epochs, counts = (1, 1, PASSES[:3]) if quick else (3, 30, PASSES)
    fixed, random = (np.array(part) for part in zip(*(_one_seed(seed, epochs, counts) for seed in range(repeats))))
    rows = [{"passes": "fixed", "test error (%)": float(fixed.mean()), "its standard error": seeds.error(fixed)}]
    for count, errors in zip(counts, random.T):
        gain = errors - random[:, 0]
        row = {"passes": count, "test error (%)": float(errors.mean()), "its standard error": seeds.error(errors)}
        rows.append(row | {"change from one pass (points)": float(gain.mean()), "its error": seeds.error(gain)})
    figure, (axis,) = canvas(1, 1, width=6)
    bars = np.nan_to_num([seeds.error(errors) for errors in random.T])
    axis.errorbar(counts, random.mean(0), yerr=bars, fmt="o-", capsize=3)
    axis.axhline(fixed.mean(), color="C1", linestyle="--", label="one fixed pass")
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.legend()
    title = f"digits, {epochs} epochs, {repeats} seeds"
    axis.set(xlabel="random passes averaged", ylabel="test error (%)", title=title)
    save(figure, path := workdir / "fmp.png")
    last = rows[-1]
    change = f"{seeds.told(last['change from one pass (points)'], last['its error'], 2)} points, seeds: {repeats}"
    claim = _holds(*(row["test error (%)"] for row in rows))
    sentence = (
        f"One random pass errs on {rows[1]['test error (%)']:.2f} % of the test images, an average of {counts[-1]} on "
        f"{last['test error (%)']:.2f} % ({change}), one fixed pass on {rows[0]['test error (%)']:.2f} %: that noise "
        f"in training should be averaged over at test, as the lecture says, {claim}."
    )
    named = {f"{row['passes']}: {key}": value for row in rows for key, value in list(row.items())[1:]}
    numbers = {name: value for name, value in named.items() if not math.isnan(value)}
    return Result(path, numbers, sentence, rows)


def _one_seed(seed: int, epochs: int, counts: Sequence[int]) -> tuple[float, list[float]]:
    """Test errors in percent: of the fixed pass, and of averages of so many random ones."""
    data = {name: jnp.asarray(value) for name, value in digits().items()}
    model = models.create("fmp_digits")
    params, state = functional.init(model, seed, data["train_x"][:1])
    optimizer = optim.adam(RATE)

    @jax.jit
    def update(params: Any, opt_state: Any, picked: Any, key: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> Any:
            logits, _ = functional.apply(model, params, state, data["train_x"][picked], key=key, train=True)
            return softmax_cross_entropy(logits, data["train_y"][picked]).mean()

        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return optim.apply_updates(params, updates), opt_state

    @jax.jit
    def predict(params: Any, key: Any = None) -> Any:
        noise = key is not None
        return jax.nn.softmax(functional.apply(model, params, state, data["test_x"], key=key, noise=noise)[0])

    key, opt_state = jax.random.key(seed), optimizer.init(params)
    for step, picked in enumerate(batches(seed, epochs)):
        params, opt_state = update(params, opt_state, picked, jax.random.fold_in(key, step))
    drawn = [predict(params, one) for one in jax.random.split(jax.random.fold_in(key, 2**31), counts[-1])]
    drawn = np.array(jax.device_get(drawn), np.float64)
    groups = [drawn.reshape(-1, count, *drawn.shape[1:]).mean(1) for count in counts]
    return _percent(np.asarray(predict(params))), [float(np.mean([_percent(p) for p in group])) for group in groups]


def _percent(probabilities: np.ndarray) -> float:
    return 100 * float((probabilities.argmax(-1) != digits()["test_y"]).mean())


def _holds(fixed: float, one: float, *averages: float) -> str:
    """Whether an average beats one random pass, and the fixed one."""
    if averages[-1] >= one:
        return "does not hold here"
    beside = "is no substitute" if fixed > averages[-1] else "is as good, which the lecture does not say"
    return f"holds here, and the fixed pass {beside}"


STUDIES = {"fmp": passes}
