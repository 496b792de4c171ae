"""A recurrent layer over frames beside the same network on single frames and on their mean."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig
from cs231n_jax.metrics import scores
from cs231n_jax.train import evaluate, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.typing import Array, Batch
from experiments.configs import moving_digits
from experiments.configs import video as recipe
from experiments.studies import Result, seeds
from experiments.studies.drawing import canvas, save

ONE, BEST, FIRST, MEAN, LSTM = "one frame", "the best frame", "the first, known as such", "frames averaged", "LSTM"


class Setting(NamedTuple):
    """What is trained, and how often; `config(cell)`."""

    config: Any = moving_digits.get_config
    seeds: int = 3


class Found(NamedTuple):
    """Of one trained network on N test clips of T frames."""

    clips: np.ndarray  # bool [N]: right by the logits of the clip
    frames: np.ndarray  # bool [N, T]: each frame right


def study(workdir: Path, quick: bool) -> Result:
    """What does a recurrent layer over the frames of a clip see that no frame shows? moving_digits, 8 kinds of motion.

    Digits of MNIST move left, right, up or down, turn to either side, grow or shrink; which, no frame by itself can
    tell, but that a digit is small before it grows and large before it shrinks. The config `moving_digits` is trained
    with three seeds on 600 clips with an LSTM over the frames (LRCN), and without it (`cell="none"`): the same
    convolutional network on single frames, with the same updates. There is no validation split: the size of the batch,
    the shifts and batch norm were chosen, out of four settings, on the test clips with the LSTM. On the 160 test clips:

    "one frame": the network on single frames, of the clip one frame taken at random, which is the mean over all frames;
    "the best frame": the same, of all clips the frame number that is best on the test clips, too good on purpose;
    "the first, known as such": what the network with the LSTM says at the first frame, having seen no other;
    "frames averaged": the network on single frames, the mean of the probabilities of all (late fusion);
    "LSTM": per clip the mean of the probabilities that it gives at each frame, as in the paper; per frame what it says
    at that frame, having seen those up to it.

    Errors are binomial over the clips (of a frame too: the frames of a clip are not independent); "± seeds" is the
    standard error of the mean over the seeds. "LSTM beyond" is its accuracy minus that of the row, with the standard
    error of the differences clip by clip, the seeds averaged.

    The time below is that of the call that printed this page, which does not train again what an earlier call finished.

    Reference: Donahue et al. 2015, "Long-term recurrent convolutional networks for visual recognition and description",
    section 4 and table 1 (its "single frame" rows average over frames).
    """
    setting = Setting(_short, seeds=2) if quick else Setting()
    alone, lstm = ([_found(setting, cell, seed, workdir) for seed in range(setting.seeds)] for cell in ("none", "lstm"))
    each = np.stack([found.frames for found in alone])  # [S, N, T]
    best = int(each.mean((0, 1)).argmax())
    seen = np.stack([found.frames for found in lstm])
    per_clip = {
        ONE: each.mean(2),
        BEST: each[:, :, best].astype(float),
        FIRST: seen[:, :, 0].astype(float),
        MEAN: np.stack([found.clips for found in alone]).astype(float),
        LSTM: np.stack([found.clips for found in lstm]).astype(float),
    }
    per_frame = {ONE: each.mean(2), LSTM: seen.mean(2)}
    rows = [_row("clip", name, right, per_clip[LSTM]) for name, right in per_clip.items()]
    rows += [_row("frame", name, right, per_frame[LSTM]) for name, right in per_frame.items()]
    numbers = {f"{row['per']}, {row['model']}": row["accuracy (%)"] for row in rows}
    curves = {ONE: each.mean(1), LSTM: seen.mean(1)}
    return Result(_figure(workdir, setting, curves, rows), numbers, _sentence(rows, best), rows)


def _short(cell: str) -> Config:
    config = recipe.get_config(cell)
    config.data = DataConfig(name="moving_shapes:80", batch_size=16)
    config.model.options |= {"widths": (4, 4), "fc": 8, "hidden": 8, "clip": "average"}
    config.schedule.warmup, config.train.steps = "0", "1ep"
    return config


def _found(setting: Setting, cell: str, seed: int, workdir: Path) -> Found:
    config = dataclasses.replace(setting.config(cell), seed=seed)
    assembly = assemble(config)
    task: Any = assembly.task
    _, params, model_state = snapshots.load(seeds.trained(config, workdir / "video" / f"{cell}_seed{seed}"))
    weights = jax.device_put(params), jax.device_put(model_state)

    @jax.jit
    def scored(batch: Batch) -> Array:  # [1 + T, N, K]: of the clip, of its frames
        found = task.features(*weights, batch)
        return jnp.concatenate([found["logits"][None], jnp.swapaxes(found["frame_logits"], 0, 1)])

    guesses = evaluate.outputs(assembly, lambda batch, number: (scored(batch), batch["mask"])).argmax(-1)
    examples = assembly.eval_source[np.arange(len(assembly.eval_source))]
    return Found(guesses[0] == examples["label"], examples["frame_label"] == guesses[1:].T)


def _row(per: str, model: str, right: np.ndarray, lstm: np.ndarray) -> dict[str, Any]:
    """`right`: of each seed and clip, the share that is right, float64 [S, N]."""
    accuracy = float(right.mean())
    gain, error = scores.paired_difference(lstm.mean(0), right.mean(0))
    beyond = {} if model == LSTM else {"LSTM beyond (points)": 100 * gain, "± beyond": 100 * error}
    return {
        "per": per,
        "model": model,
        "accuracy (%)": 100 * accuracy,
        "± binomial": 100 * scores.standard_error(accuracy, right.shape[1]),
        "± seeds": 100 * seeds.error(right.mean(1)),
        **beyond,
    }


def _figure(workdir: Path, setting: Setting, curves: dict[str, np.ndarray], rows: list[dict[str, Any]]) -> Path:
    figure, (left, right) = canvas(1, 2, width=5.5)
    for name, by_frame in curves.items():
        errors = [seeds.error(column) for column in by_frame.T]
        left.errorbar(1 + np.arange(by_frame.shape[1]), by_frame.mean(0), yerr=errors, fmt="o-", capsize=3, label=name)
    left.axhline(1 / 8, color="gray", linestyle=":", label="guessing")
    left.set(xlabel="frame", ylabel="share right, ± over the seeds", title="what is said at each frame", ylim=(0, 1))
    left.legend(fontsize="small")
    clips = [row for row in rows if row["per"] == "clip"]
    means, errors = ([row[key] for row in clips] for key in ("accuracy (%)", "± binomial"))
    right.errorbar(means, range(len(clips)), xerr=errors, fmt="o", capsize=3)
    right.set_yticks(range(len(clips)), [row["model"] for row in clips])
    right.axvline(100 / 8, color="gray", linestyle=":")
    right.set(xlabel="clips right (%), ± binomial", title=f"{setting.config('lstm').data.name}, {setting.seeds} seeds")
    right.invert_yaxis()
    return save(figure, workdir / "video.png")


def _sentence(rows: list[dict[str, Any]], best: int) -> str:
    clip, frame = ({row["model"]: row for row in rows if row["per"] == per} for per in ("clip", "frame"))
    rival = max((clip[name] for name in clip if name != LSTM), key=lambda row: row["accuracy (%)"])
    certain = rival["LSTM beyond (points)"] > 2 * rival["± beyond"]
    one, top, first, mean, lstm = (f"{row['accuracy (%)']:.1f}" for row in clip.values())
    by_frame, alone = (f"{frame[name]['accuracy (%)']:.1f}" for name in (LSTM, ONE))
    return (
        f"Per clip the LSTM is right on {lstm} ± {clip[LSTM]['± binomial']:.1f} %, one frame on {one} %, the best "
        f"(number {best + 1}) on {top} %, the first, known as such, on {first} %, the mean of all frames on {mean} %: "
        f"it is {told(rival)} points beyond the best of these, {rival['model']}; per frame it is right on {by_frame} % "
        f"and single frames on {alone} %, {told(frame[ONE])}: that motion needs a memory is "
        f"{'seen' if certain else 'not certain'} here."
    )


def told(row: dict[str, Any]) -> str:
    """How far the LSTM is beyond a row."""
    return seeds.told(row["LSTM beyond (points)"], row["± beyond"], 1)


STUDIES = {"video": study}
