"""Text from a snapshot of a run whose task generates: samples, or what a beam search finds likeliest.

python -m experiments.decode --workdir=runs/a --prompt="First " [--samples=3 --length=400 --temperature=0.8]
python -m experiments.decode --workdir=runs/a --prompt="First " --beam=4 [--samples=4 --snapshot=1000 --average]

Prints the texts and writes them to samples/ in the run directory. The same snapshot, settings and seed give the same
bytes. Ctrl-C, SIGTERM and SIGUSR1 write what there is and exit with code 75.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import sys
from pathlib import Path

from absl import flags

from cs231n_jax.train import generate
from cs231n_jax.train.generate import Settings
from cs231n_jax.train.record import stored_config
from cs231n_jax.train.signals import StopRequest
from experiments.overrides import UsageError

_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True)
_SNAPSHOT = flags.DEFINE_string("snapshot", "latest", "Which snapshot: a step, or latest.")
_PROMPT = flags.DEFINE_string("prompt", None, "The beginning of the text, or what is to be translated.", required=True)
_SAMPLES = flags.DEFINE_integer("samples", 1, "How many texts.")
_LENGTH = flags.DEFINE_integer("length", 400, "The most tokens of each.")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Below 1 sharpens the distribution; 0: the likeliest token.")
_TOP_K = flags.DEFINE_integer("top_k", 0, "Draw from the so many likeliest tokens; 0: from all.")
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw from the likeliest tokens that have this probability together.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
_BEAM = flags.DEFINE_integer("beam", 0, "Width of a beam search; 0: draw samples.")
_AVERAGE = flags.DEFINE_bool("average", False, "With the moving average of the parameters (train.ema_decay).")


def main() -> None:
    """Print the texts and where they were written."""
    settings = Settings(
        prompt=_PROMPT.value,
        samples=_SAMPLES.value,
        length=_LENGTH.value,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        seed=_SEED.value,
        beam=_BEAM.value,
        average=_AVERAGE.value,
    )
    try:
        settings.validate()
    except ValueError as error:
        raise UsageError(str(error)) from error
    workdir = Path(_WORKDIR.value)
    program.prepare(stored_config(workdir))
    with StopRequest() as stop:
        path, texts = generate.generate_snapshot(workdir, settings, _SNAPSHOT.value, lambda: bool(stop), _warn)
    for text in texts:
        print(f"# {generate.describe(text)}\n{text.text}\n")
    print(f"# {path}")


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    program.run(main)
