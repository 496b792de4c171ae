"""Text from a snapshot of a run that writes or answers: samples, or what a beam search finds likeliest, or answers.

python -m experiments.decode --workdir=runs/a --prompt="First " [--samples=3 --length=400 --temperature=0.8]
python -m experiments.decode --workdir=runs/a --prompt="First " --beam=4 [--samples=4 --snapshot=1000 --average]
python -m experiments.decode --workdir=runs/a --split=test --beam=5 --length=100
python -m experiments.decode --workdir=runs/a --input=sentences.txt --beam=5
python -m experiments.decode --workdir=runs/a --split=test --beam=5 --length=20 --page=captions.html [--page_images=20]
python -m experiments.decode --workdir=runs/q --split=test [--page=answers.html --page_images=20 --average]

Prints the texts and writes them to samples/ in the run directory. With --split there is one for each input of a split
of the run's data, in their order, and what is printed are their scores against the references, such as BLEU; with
--input one for each line of a file. Of a run that describes pictures --page also writes one HTML file of the first of
them, with what the search found and where each word looked. Of a run that answers questions about pictures --split
prints how many answers are right, by type of question, and --page shows the first questions, the likeliest answers and
where each hop looked. The same snapshot, settings and seed give the same bytes.
Ctrl-C, SIGTERM and SIGUSR1 write what there is and exit with code 75.
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import sys
from pathlib import Path
from typing import Any

from absl import flags

from cs231n_jax.data import lines
from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import answers, description_page, generate, generate_many
from cs231n_jax.train.record import stored_config
from cs231n_jax.train.signals import StopRequest
from experiments.overrides import UsageError

_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory.", required=True)
_SNAPSHOT = flags.DEFINE_string("snapshot", "latest", "Which snapshot: a step, or latest.")
_PROMPT = flags.DEFINE_string("prompt", None, "The beginning of the text, or what is to be translated.")
_SPLIT = flags.DEFINE_string("split", None, "In place of a prompt: a split of the run's data, such as test.")
_INPUT = flags.DEFINE_string("input", None, "In place of a prompt: a file with a prompt a line.")
_SAMPLES = flags.DEFINE_integer("samples", 1, "How many texts.")
_LENGTH = flags.DEFINE_integer("length", 400, "The most tokens of each.")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Below 1 sharpens the distribution; 0: the likeliest token.")
_TOP_K = flags.DEFINE_integer("top_k", 0, "Draw from the so many likeliest tokens; 0: from all.")
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw from the likeliest tokens that have this probability together.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
_BEAM = flags.DEFINE_integer("beam", 0, "Width of a beam search; 1: the likeliest token at each step; 0: draw samples.")
_BATCH = flags.DEFINE_integer("batch", 64, "With --split and --input: inputs at once.")
_PAGE = flags.DEFINE_string("page", None, "With --split and --input, of pictures: the HTML file to be written.")
_PAGE_IMAGES = flags.DEFINE_integer("page_images", 20, "How many pictures are on it, the first ones.", lower_bound=1)
_AVERAGE = flags.DEFINE_bool("average", False, "With the moving average of the parameters (train.ema_decay).")


def main() -> None:
    """Print the texts, or their scores, and where they were written."""
    if sum(flag.value is not None for flag in (_PROMPT, _SPLIT, _INPUT)) != 1:
        raise UsageError("give one of --prompt=TEXT, --split=NAME and --input=FILE")
    if _PROMPT.value is None and answers.is_asked(stored_config(Path(_WORKDIR.value))):
        _answers()
    elif _PROMPT.value is None:
        _many()
    else:
        _one(_PROMPT.value)


def _one(prompt: str) -> None:
    if _PAGE.value is not None:
        raise UsageError("--page is for --split and --input: a prompt is printed alone")
    settings = generate.Settings(
        prompt=prompt,
        samples=_SAMPLES.value,
        length=_LENGTH.value,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        seed=_SEED.value,
        beam=_BEAM.value,
        average=_AVERAGE.value,
    )
    workdir = _checked(settings)
    with StopRequest() as stop:
        path, texts = generate.generate_snapshot(workdir, settings, _SNAPSHOT.value, lambda: bool(stop), _warn)
    for text in texts:
        print(f"# {generate.describe(text)}\n{text.text}\n")
    print(f"# {path}")


def _many() -> None:
    for flag in (_SAMPLES, _TEMPERATURE, _TOP_K, _TOP_P, _SEED):
        if flag.value != flag.default:
            raise UsageError(f"--{flag.name} is for --prompt: each input of a split or a file gets its likeliest text")
    settings = generate_many.Settings(_BEAM.value, _LENGTH.value, _BATCH.value, _AVERAGE.value)
    workdir = _checked(settings)
    with StopRequest() as stop:
        rest = (settings, _SNAPSHOT.value, lambda: bool(stop), _warn)
        if _SPLIT.value is not None:
            given: Any = _SPLIT.value
            texts, page = generate_many.generate_split, description_page.of_split
        else:
            given = lines.read(Path(_INPUT.value or ""))
            texts, page = generate_many.generate_texts, description_page.of_files
        if _PAGE.value is not None:  # first: what stands in its way is told before all is decoded
            where = description_page.Page(Path(_PAGE.value), _PAGE_IMAGES.value)
            print(f"# {page(workdir, given, settings, where, *rest[1:])}")
        found = texts(workdir, given, *rest)
    if found.scores:
        rows = [(name, f"{score.value:.2f}", score.signature) for name, score in found.scores.items()]
        with ConsoleReporter() as reporter:
            reporter.table(f"{workdir}, {_SPLIT.value}, beam {settings.beam}", ("score", "value", "how"), rows)
    else:
        print(*found.texts, sep="\n")
    print(f"# {', '.join(f'{value} {name}' for name, value in found.numbers.items())}; {found.path}")


def _answers() -> None:
    for flag in (_INPUT, _SAMPLES, _LENGTH, _TEMPERATURE, _TOP_K, _TOP_P, _SEED, _BEAM, _BATCH):
        if flag.value != flag.default:
            raise UsageError(f"--{flag.name} is for runs that write, and this one answers: give --split=NAME alone")
    workdir, split = Path(_WORKDIR.value), str(_SPLIT.value)
    program.prepare(stored_config(workdir))
    where = None if _PAGE.value is None else answers.Page(Path(_PAGE.value), _PAGE_IMAGES.value)
    with StopRequest() as stop:
        answered = answers.answer_split(
            workdir, split, where, _SNAPSHOT.value, _AVERAGE.value, lambda: bool(stop), _warn
        )
    found, prior = answered.accuracy, answered.prior
    shares = [("all", found.score, prior.score), *((kind, x, prior.by_type[kind]) for kind, x in found.by_type.items())]
    numbers = {"all": sum(found.counts.values()), **found.counts}
    rows = [(kind, f"{100 * x:.2f}", f"{100 * least:.2f}", str(numbers[kind])) for kind, x, least in shares]
    columns = ("questions", "right (%)", "by the commonest answer (%)", "number")
    with ConsoleReporter() as reporter:
        reporter.table(f"{workdir}, {split}: {found.signature}", columns, rows)
    print(f"# {found.unknown} questions have an answer that training has not in the form compared, and count as wrong")
    for what, count in answered.noticed.items():
        print(f"# {count} {what}")
    print(f"# {answered.path}")
    if where is not None:
        print(f"# {where.path}")


def _checked(settings: generate.Settings | generate_many.Settings) -> Path:
    try:
        settings.validate()
    except ValueError as error:
        raise UsageError(str(error)) from error
    workdir = Path(_WORKDIR.value)
    program.prepare(stored_config(workdir))
    return workdir


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    program.run(main)
