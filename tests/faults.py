"""Deliberate faults: each must turn its tests red. Run by hand, for it takes minutes: python -m tests.faults [NAME …].

Every fault replaces one text in one file of a copy of the repository and runs the tests that should see it. A fault
that no test sees is named at the end, and the exit status is 1.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Fault(NamedTuple):
    """A text of a file, what takes its place, and the arguments of pytest that must fail then."""

    file: str
    right: str
    wrong: str
    tests: str


FAULTS = {
    "an epsilon outside the root": Fault(
        "ops/norm.py",
        "factor = scale * lax.rsqrt(var + eps)",
        "factor = scale / (jnp.sqrt(var) + eps)",
        "tests/ops/test_norm.py",
    ),
    "a sign in a derivative": Fault(
        "ops/norm.py",
        "offset = (dmean - factor * dbias) / count",
        "offset = (dmean + factor * dbias) / count",
        "tests/ops/test_norm.py",
    ),
    "an axis": Fault(
        "ops/losses.py",
        "loss = loss - label_smoothing * z.mean(-1)",
        "loss = loss - label_smoothing * z.mean(0)[:1]",
        "tests/ops/test_losses.py",
    ),
    "a slope of 1 at 0": Fault(
        "ops/penalties.py", "w * lax.stop_gradient(jnp.sign(w))", "jnp.abs(w)", "tests/ops/test_penalties.py"
    ),
    "a frozen stage that trains": Fault(
        "models/base.py", "if stage in self.frozen:", "if not stage:", "tests/models/test_activation_option.py"
    ),
    "a dropped mask": Fault(
        "metrics/mean.py",
        "mask = mask.astype(values.dtype)",
        "mask = jnp.ones_like(values)",
        "tests/train/test_step.py -k masked",
    ),
    "an off-by-one in a schedule": Fault(
        "optim/schedules.py",
        "_float(_count(count) % period) / period",
        "_float((_count(count) + 1) % period) / period",
        "tests/optim/test_schedules.py",
    ),
    "bias correction one update late": Fault(
        "optim/adaptive.py",
        "_one_minus_power(b1, count), _one_minus_power(b2, count)",
        "_one_minus_power(b1, count + 1), _one_minus_power(b2, count + 1)",
        "tests/optim/test_truth_table.py",
    ),
    "Nesterov with the old trace": Fault(
        "optim/transforms.py", "b = u + rho * b\n", "b = u + rho * old\n", "tests/optim/test_truth_table.py"
    ),
    "decay of the gradient in place of the weights": Fault(
        "optim/transforms.py",
        "scalar(weight_decay, wide_p.dtype) * wide_p",
        "scalar(weight_decay, wide_p.dtype) * wide_u",
        "tests/optim/test_truth_table.py",
    ),
    "a gradient that fits, made as long as the limit": Fault(
        "optim/clipping.py",
        "total = jnp.where(fits, limit, norm + scalar(eps, norm.dtype))",
        "total = norm + scalar(eps, norm.dtype)",
        "tests/optim/test_clipping.py",
    ),
    "dropout without its scale": Fault(
        "ops/noise.py",
        "jnp.broadcast_to(kept, x.shape), x / (1.0 - drop_rate)",
        "jnp.broadcast_to(kept, x.shape), x",
        "tests/ops/test_noise.py",
    ),
    "stochastic depth without its scale at test": Fault(
        "ops/noise.py", "return x * (1.0 - drop_rate)", "return x", "tests/ops/test_noise.py"
    ),
    "a variance without the part between batches": Fault(
        "train/average.py", " + delta**2 * (share * (1 - share))", "", "tests/train/test_average.py"
    ),
    "an order that no epoch changes": Fault(
        "data/pipeline.py", 'f"{seed} shuffle {epoch}"', 'f"{seed} shuffle"', "tests/data/test_pipeline.py"
    ),
    "a key that no step changes": Fault(
        "train/state.py", 'impl="threefry2x32"), step)', 'impl="threefry2x32"), step * 0)', "tests/train/test_keys.py"
    ),
    "an option-A shortcut padded at one end": Fault(
        "models/resnet.py", "(missing // 2, missing - missing // 2)", "(0, missing)", "tests/interop/test_resnet20.py"
    ),
    "an auxiliary weight": Fault(
        "models/googlenet.py",
        "aux_weight: float = 0.3",
        "aux_weight: float = 0.4",
        "tests/train/test_losses_and_penalties.py -k auxiliary",
    ),
    "a mean of logarithms for a mean of probabilities": Fault(
        "train/marginalise.py",
        "jax.nn.logsumexp(logs, axis=0) - math.log(len(logs))",
        "jnp.mean(logs, axis=0)",
        "tests/train/test_marginalise.py",
    ),
    "a flip upside down": Fault(
        "ops/augment.py", "images[:, :, ::-1]", "images[:, ::-1, :]", "tests/ops/test_augment.py"
    ),
    "DropConnect with the deviation of a sum for its variance": Fault(
        "ops/dropconnect.py",
        "keep * (1.0 - keep) * (jnp.square(x)",
        "keep * (jnp.square(x)",
        "tests/ops/test_dropconnect.py",
    ),
    "a shift of the kernel's gradient": Fault(
        "ops/conv_cpu.py", "(left - b, q - w - left + b)", "(b - left, q - w - b + left)", "tests/ops/test_conv.py"
    ),
    "an update kept though it is not finite": Fault(
        "train/step.py",
        "good = finite & jnp.isfinite(sums.total) &",
        "good = (finite | True) &",
        "tests/train/test_step.py -k finite",
    ),
    "a snapshot whose checksum nobody reads": Fault(
        "train/snapshots.py", "if _sha256(path / name) != digest:", "if not digest:", "tests/train/test_snapshots.py"
    ),
    "features whose key leaves the weights out": Fault(
        "train/encoder.py",
        '"weights": digest, "storage"',
        '"weights": "", "storage"',
        "tests/train/test_encoder.py -k changes_their_key",
    ),
    "slots that move before their group begins": Fault(
        "optim/starting.py",
        "kept = jax.tree.map(chosen, moved, state.inner)",
        "kept = moved",
        "tests/optim/test_starting.py",
    ),
    "a moving average with its decay the other way": Fault(
        "train/average.py",
        "decay * a + (1.0 - decay) * n",
        "(1.0 - decay) * a + decay * n",
        "tests/train/test_average.py",
    ),
    "a state that moves after the end of its sequence": Fault(
        "ops/time_loop.py",
        "new = _where(live, new, state)",
        "new = _where(None, new, state)",
        "tests/ops/test_recurrent.py -k is_the_reference",
    ),
    "attention to places that are not there": Fault(
        "ops/attention.py", "jnp.where(there, scores, lowest)", "scores", "tests/ops/test_attention.py"
    ),
    "attention that is spread without the square": Fault(
        "tasks/captioning.py", "jnp.square(1.0 - looked)", "jnp.abs(1.0 - looked)", "tests/train/test_captioning.py"
    ),
    "a length penalty off by one": Fault(
        "decode/beam.py", "((5 + lengths) / 6)", "((6 + lengths) / 6)", "tests/decode/test_beam.py"
    ),
    "a brevity penalty for what is too long": Fault(
        "metrics/bleu_score.py", "if ours >= theirs", "if ours <= theirs", "tests/metrics/test_text_scores.py"
    ),
    "a phrase rarer than it is": Fault(
        "metrics/cider_score.py",
        "math.log(len(sets) / count)",
        "math.log((len(sets) + 1) / count)",
        "tests/metrics/test_caption_scores.py",
    ),
}


def found(fault: Fault) -> int:
    """How often the right text stands in its file: once, or the table is out of date."""
    return (ROOT / "cs231n_jax" / fault.file).read_text(encoding="utf-8").count(fault.right)


def seen(fault: Fault) -> bool:
    """Whether the fault turns its tests red.

    Raises:
        ValueError: the right text does not stand in the file exactly once.
    """
    if found(fault) != 1:
        raise ValueError(f"{fault.file} holds {fault.right!r} {found(fault)} times: mend the table")
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "copy"
        left = shutil.ignore_patterns(".git", ".venv", ".pytest_cache", "runs", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=left)
        path = copy / "cs231n_jax" / fault.file
        path.write_text(path.read_text(encoding="utf-8").replace(fault.right, fault.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *fault.tests.split()]
        return subprocess.run(command, cwd=copy, capture_output=True).returncode == 1


def main(names: list[str]) -> int:
    """Try the faults that are named, or all; 0 if each was seen."""
    missed = []
    for name in names or FAULTS:
        caught = seen(FAULTS[name])
        print(f"{'seen' if caught else 'MISSED'}: {name}", flush=True)
        missed += [] if caught else [name]
    print(f"{len(names or FAULTS) - len(missed)} of {len(names or FAULTS)} faults were seen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
