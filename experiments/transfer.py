"""Carry a trained network over to other data: one cell of the lecture's table of transfer learning, or all of it.

python -m experiments.transfer --target=mnist --amount=little --ways=probe_stages,finetune_few --workdir=runs/transfer
python -m experiments.transfer --target=./photos/ --amount=much --ways=probe_stages,finetune_many --seeds=1
python -m experiments.transfer --weights=FILE --model=resnet20    # all targets, amounts and ways
python -m experiments.transfer --weights=runs/a                   # a run of one's own: its config names the model
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import sys
import time
from pathlib import Path

from absl import flags

from cs231n_jax.data import Normalization
from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import record, weights
from cs231n_jax.train.transfer import FACTOR, Transfer
from experiments import pages
from experiments.overrides import UsageError
from experiments.studies import transfer, transfer_page
from experiments.studies.transfer_data import LITTLE, MUCH, QUICK, TARGETS, own, sized

_ORIGIN = transfer.Origin()
_KNOWN = {**TARGETS, **QUICK}
_WORKDIR = flags.DEFINE_string("workdir", "runs/studies", "Where data, runs and findings go; what is there is kept.")
_TARGETS = flags.DEFINE_list(
    "target", list(TARGETS), f"Data to carry over to: {', '.join(_KNOWN)}, a path ending in .npz, or a folder."
)
_SIMILAR = flags.DEFINE_bool("similar", True, "Whether data of one's own are like those that the weights know.")
_AMOUNTS = flags.DEFINE_list("amount", [LITTLE, MUCH], "How much of it.")
_WAYS = flags.DEFINE_list("ways", [way.value for way in Transfer], "What is compared.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds: of the examples, of new weights and of the order.", lower_bound=1)
_WEIGHTS = flags.DEFINE_string("weights", _ORIGIN.weights, "A file, or a run directory; $CS231N_WEIGHTS_DIR counts.")
_MODEL = flags.DEFINE_string("model", _ORIGIN.model, "The network that a file of weights is of.")
_CLASSES = flags.DEFINE_integer("classes", 10, "Classes that a file of weights is of.", lower_bound=1)
_NORMALIZE = flags.DEFINE_enum_class("normalize", Normalization(_ORIGIN.normalize), Normalization, "As the weights do.")
_SIZE = flags.DEFINE_integer("image_size", 0, "Side of all images; 0: as in the study, 32.", lower_bound=0)
_FEW = flags.DEFINE_integer("few", 1, "Stages that finetune_few trains, from the last.", lower_bound=1)
_FACTOR = flags.DEFINE_float("factor", FACTOR, "Of the rate for given weights.", lower_bound=0.0)
_RATE = flags.DEFINE_float(
    "learning_rate",
    0.0,
    "Of new weights; 0: as in the study, 0.2 beside given ones, 0.1 from scratch.",
    lower_bound=0.0,
)
_UPDATES = flags.DEFINE_integer("updates", 0, "Updates of every training; 0: as in the study.", lower_bound=0)
_PAGES = flags.DEFINE_string("pages", "", "A folder for the page of the study, of what is measured here.")


def main() -> None:
    """Print what every way found in every cell, beside the lecture's advice."""
    ways = tuple(Transfer(way) for way in _chosen("ways", _WAYS.value, [way.value for way in Transfer]))
    size, asked = _SIZE.value, [_named(name) for name in _TARGETS.value]
    paths = [name for name in asked if name.endswith((".npz", "/"))]
    theirs = {name: own(name, _SIMILAR.value, size) for name in paths}
    known = {**{name: sized(one, size) if size else one for name, one in _KNOWN.items()}, **theirs}
    targets = {Path(name).stem: known[name] for name in _chosen("target", asked, list(known))}
    amounts = tuple(_chosen("amount", _AMOUNTS.value, [LITTLE, MUCH]))
    if len(targets) < len(set(asked)):
        raise UsageError(f"--target={','.join(_TARGETS.value)} has two of one name: rename one, or give it alone")
    origin = _origin()
    updates = dict.fromkeys(amounts, _UPDATES.value) if _UPDATES.value else transfer.UPDATES
    setting = transfer.Setting(
        *(origin, targets, amounts, ways, _SEEDS.value, updates),
        few=_FEW.value,
        factor=_FACTOR.value,
        rate=_RATE.value,
    )
    workdir = Path(_WORKDIR.value)
    start = time.perf_counter(), time.process_time()
    with ConsoleReporter() as reporter:
        found = transfer.measured(setting, workdir / "transfer", reporter.line)
        result = transfer_page.result(workdir / "transfer.png", targets, found, origin.normalize)
        reporter.table("transfer", *pages.table(result.rows))
        for line in filter(None, result.sentence.split("\n\n")):
            reporter.line(line)
        record.write_json(workdir / "transfer.json", {"rows": list(result.rows), "sentence": result.sentence})
        if _PAGES.value:
            took = f"{time.perf_counter() - start[0]:.0f} s, {time.process_time() - start[1]:.0f} s of processor time"
            given = [word for word in sys.argv[1:] if not word.startswith(("--pages", "--workdir"))]
            command = " ".join(["transfer", *given])
            pages.of_study(Path(_PAGES.value), "transfer", transfer.study, result, took, command)
        reporter.line(f"figure: {result.figure}   record: {workdir / 'transfer.json'}")


def _origin() -> transfer.Origin:
    """The trained network of the flags; of a run directory its config says all but how to normalise."""
    if not (place := weights.find("--weights", _WEIGHTS.value)).is_dir():
        options = {"num_classes": _CLASSES.value}
        return transfer.Origin(_MODEL.value, options, _WEIGHTS.value, _MODEL.value, _NORMALIZE.value.value)
    for flag in (_MODEL, _CLASSES):
        if flag.present:
            raise UsageError(f"--{flag.name} is given with --weights={place}, a run whose config has it: leave it out")
    origin = transfer.of_run(place)
    return origin._replace(normalize=_NORMALIZE.value.value) if _NORMALIZE.present else origin


def _named(target: str) -> str:
    """As it is given; of a folder with the slash that tells it from the name of a data set."""
    return f"{target.rstrip('/')}/" if target not in _KNOWN and Path(target).expanduser().is_dir() else target


def _chosen(flag: str, given: list[str], known: list[str]) -> list[str]:
    if unknown := [word for word in given if word not in known] or ([] if given else ["nothing"]):
        raise UsageError(f"--{flag} names {unknown[0]!r}; give of {', '.join(known)}, with commas between")
    return list(dict.fromkeys(given))


if __name__ == "__main__":
    program.run(main)
