"""Print the README's tables from the records and pages, or write them there: python -m experiments.results [--write].

With --write docs/performance.md is composed anew too. Nothing is measured: what a record or a page does not hold is
"not yet run".
"""

from experiments import program  # isort: skip  (first: it sets up the allocator)

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from cs231n_jax.train import record
from experiments import pages, performance
from experiments.studies import families_table

_WRITE = flags.DEFINE_bool("write", False, "Write README.md and docs/performance.md instead of printing.")

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "experiments" / "pinned"
PAGES = ROOT / "docs" / "benchmarks"
NOT_RUN = "not yet run"
SHARED = " shared with other work"
MULTI30K, FLICKR8K = "Multi30k, German to English, test 2016", "flickr8k, 400 of 1,000 test images"


class Run(NamedTuple):
    """A row of the table of results."""

    config: str
    data: str
    paper: str  # the published test error in percent, "–" where there is none
    name: str = ""  # of the record in experiments/pinned; "" where it has not been run
    hardware: str = ""  # what the record does not know of it
    command: str = ""


RUNS = (
    Run("digits_snapshots, last snapshot", "digits, 898 / 899", "–", "digits_snapshots", command="./launch/local.sh"),
    Run("cifar10_resnet:resnet20, 5 of 164 epochs ¹", "CIFAR-10", "8.75", "cifar10_resnet20_5ep", SHARED),
    Run("cifar10_resnet:resnet20/gpu, full recipe", "CIFAR-10", "8.75", "cifar10_resnet20_gpu", SHARED),
    Run("cifar10_resnet:resnet32", "CIFAR-10", "7.51"),
    Run("cifar10_resnet:resnet44", "CIFAR-10", "7.17"),
    Run("cifar10_resnet:resnet56", "CIFAR-10", "6.97"),
    Run("cifar10_resnet:resnet110", "CIFAR-10", "6.43"),
    Run("tiny_shakespeare:lstm ²", "tiny Shakespeare, validation", "–", "tiny_shakespeare"),
    Run("multi30k:general, with attention ³", MULTI30K, "–", "multi30k_general", SHARED),
    Run("multi30k:general, with attention ³", MULTI30K, "–", "multi30k_general_gpu", SHARED),
    Run("multi30k:none, without ³", MULTI30K, "–", "multi30k_none", SHARED),
    Run("sst2:lstm", "SST-2, sentences, validation", "–", "sst2", SHARED),
    Run("moving_digits:lstm", "moving_digits, clips", "–", "moving_digits", SHARED),
    Run("flickr8k:attention, 8 of 15 epochs ⁴", FLICKR8K, "–", "flickr8k_attention", SHARED),
    Run("flickr8k:lstm ⁴", FLICKR8K, "–", "flickr8k_lstm", SHARED),
    Run("daquar:image ⁵", "DAQUAR, 5,673 questions", "–", "daquar_image", SHARED),
    Run("daquar:question ⁵", "DAQUAR, 5,673 questions", "–", "daquar_question", SHARED),
    Run("daquar:product ⁵", "DAQUAR, 5,673 questions", "–", "daquar_product", SHARED),
    Run("daquar:stacked ⁵", "DAQUAR, 5,673 questions", "–", "daquar_stacked", SHARED),
    Run("easy_vqa:question ⁵", "easy_vqa, 4,868 questions", "–", "easy_vqa_question", SHARED),
    Run("easy_vqa:product ⁵", "easy_vqa, 4,868 questions", "–", "easy_vqa_product", SHARED),
    Run("easy_vqa:stacked ⁵", "easy_vqa, 4,868 questions", "–", "easy_vqa_stacked", SHARED),
)


PUBLISHED = (  # of captions: config, BLEU-1 to 4
    ("Karpathy, Fei-Fei 2015: RNN, 6,000 images", "57.9", "38.3", "24.5", "16.0"),
    ("Xu et al. 2015: soft attention, VGG-19, 6,000 images", "67.0", "44.8", "29.9", "19.5"),
)
LOADED = ["published ResNet-20 weights, loaded", "CIFAR-10", "8.27 %", "8.27 %", "–", "–"]
LOADED_BY = "`tests/interop/test_resnet20.py`"


def results() -> str:
    """Test errors, nats a character or BLEU of the recorded runs after their last update, and of averages."""
    header = ["config", "data", "error", "paper", "hardware, time", "seeds", "record or command"]
    rows = []
    for run in RUNS:
        rows += _recorded(run) if run.name else [[run.config, run.data, NOT_RUN, _percent(run.paper), "", "", ""]]
    return pages.markdown(header, [*rows, [*LOADED, LOADED_BY]])


def captions() -> str:
    """BLEU and CIDEr-D of the captions that recorded runs wrote, by width of the beam, beside the published ones."""
    header = ["config", "beam", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr-D"]
    cells = []
    for run in RUNS:
        for path in sorted((PINNED / run.name).glob("generated_beam*.json")) if run.name else ():
            found = record.read_json(path)
            bleu = [f"{found['scores'][f'bleu-{n}']['value']:.1f}" for n in range(1, 5)]
            cells.append([run.config, str(found["beam"]), *bleu, f"{found['scores']['cider-d']['value']:.2f}"])
    cells += [[name, "", *bleu, "–"] for name, *bleu in PUBLISHED]
    return pages.markdown(header, cells)


def answers() -> str:
    """Right answers of recorded runs by type of question, and those of the commonest answer of training."""
    found = {}
    for run in RUNS:
        if run.name and (path := PINNED / run.name / "answers.json").exists():
            found[run] = record.read_json(path)
    kinds = list(dict.fromkeys(kind for each in found.values() for kind in each["accuracy"]["by_type"]))
    priors = {f"the commonest answer, {run.data}": each["prior"] for run, each in found.items()}
    shares = {**priors, **{run.config: each["accuracy"] for run, each in found.items()}}
    cells = [
        [name, _share(share["score"]), *(_share(share["by_type"].get(kind)) for kind in kinds)]
        for name, share in shares.items()
    ]
    return pages.markdown(["config", "all", *kinds], cells)


def families() -> str:
    """What a small variant of each family has learnt in ten minutes of two cores, the best first."""
    header = ["family", "model", "test error", "parameters", "processor seconds an update", "updates", "seeds"]
    found = families_table.recorded(PINNED / "families_table")
    cells = [_family(row) for row in found]
    missing = [name for name in families_table.FAMILIES if name not in {row["family"] for row in found}]
    return pages.markdown(header, [*cells, *([name, "", NOT_RUN, "", "", "", ""] for name in missing)])


def _family(row: dict[str, Any]) -> list[str]:
    error = f"{row[families_table.ERROR]:.2f} %" + (f" ± {row['± error']:.2f}" if row["seeds"] > 1 else "")
    seconds = pages.show(row["processor seconds an update"])
    numbers = [f"{row[name]:,}" for name in ("updates", "seeds")]
    return [row["family"], f"`{row['model']}`", error, f"{row['parameters']:,}", seconds, *numbers]


def speed() -> str:
    """A train step and its compilation beside plain flax and optax, from the page of the families."""
    own = [row for row in pages.read(PAGES / "families.md")[1] if row["program"] == "cs231n_jax"]
    intervals = ("ratio", "low", "high"), ("compile ratio", "compile low", "compile high")
    cells = [
        [row["net"], row["batch"], *("{} ({}–{})".format(*map(row.get, names)) for names in intervals)] for row in own
    ]
    return pages.markdown(["network", "batch", "train step (95 % interval)", "trace and compile"], cells)


def startup() -> str:
    """Seconds to the first update."""
    cells = [[row[key] for key in ("program", "median", "min", "max")] for row in pages.read(PAGES / "startup.md")[1]]
    return pages.markdown(["from the start of the process to the first update", "seconds", "min", "max"], cells)


def optimizers() -> str:
    """One update of ResNet-50's parameters beside optax's."""
    rows = [row for row in pages.read(PAGES / "optimizers.md")[1] if row["optax"]]
    keys = ("optimizer", "ratio", "low", "high", "compile ratio")
    cells = [[row[key] for key in keys] for row in rows]
    return pages.markdown(["one update", "ratio to optax", "low", "high", "compile"], cells)


TABLES: dict[str, Callable[[], str]] = {
    "results": results,
    "captions": captions,
    "answers": answers,
    "families": families,
    "speed": speed,
    "startup": startup,
    "optimizers": optimizers,
}


def composed(text: str) -> str:
    """The README with each table anew between the comments that mark its place.

    Raises:
        ValueError: a table has no place, or a place no table.
    """
    places = re.findall(r"<!-- table: (\w+) -->\n", text)
    if sorted(places) != sorted(TABLES):
        raise ValueError(f"README.md has places for the tables {sorted(places)}; there are {sorted(TABLES)}")
    for name, table in TABLES.items():
        before, mark, rest = text.partition(f"<!-- table: {name} -->\n")
        text = before + mark + table() + rest[rest.index("\n<!-- end -->") :]
    return text


def main(arguments: list[str]) -> None:
    """Print or write."""
    if arguments:
        raise program.UsageError(f"results takes no arguments, and was given {' '.join(arguments)}")
    if not _WRITE.value:
        print("\n\n".join(table() for table in TABLES.values()))
        return
    readme = ROOT / "README.md"
    readme.write_text(composed(readme.read_text(encoding="utf-8")), encoding="utf-8")
    performance.write(PAGES, ROOT / "docs" / "performance.md")


def _recorded(run: Run) -> list[list[str]]:
    found = record.read_json(PINNED / run.name / "result.json")
    environment = record.read_json(PINNED / run.name / "environment.json")
    source = " ".join(part for part in (f"`{run.command}`," if run.command else "", f"`experiments/pinned/{run.name}`"))
    hardware = f"{_machine(environment)}{run.hardware}, {found['train_seconds']:,.0f} s"
    error = _score(found["eval"], PINNED / run.name)
    members = found.get("members", [])
    averages = [m for m in members if not m["name"].startswith("snapshot")]
    last = [m for m in members if m not in averages][-1:]
    if last:
        error += f" ({last[0]['wrong']} wrong)"
    first = [run.config, run.data, error, _percent(run.paper), hardware, "1", source.strip()]
    return [first] + [
        [f"– {m['name']}", "", f"{_error(m['accuracy'])} ({m['wrong']} wrong)", "", "", "", ""] for m in averages
    ]


def _machine(environment: dict[str, Any]) -> str:
    device = environment["device"]
    return f"{environment['cpu']['cores']} CPU cores" if device["platform"] == "cpu" else device["kind"]


def _score(found: dict[str, float], folder: Path) -> str:
    """Of what a run generated (`experiments.decode --split`), by its widest beam, BLEU; otherwise of its evaluation."""
    if generated := sorted(folder.glob("generated*.json")):
        scores = record.read_json(generated[-1])["scores"]
        return f"{scores.get('bleu', scores.get('bleu-4'))['value']:.1f} BLEU"
    return f"{found['loss']:.3f} nats" if "perplexity" in found else _error(found["accuracy"])


def _error(accuracy: float) -> str:
    return f"{100 * (1 - accuracy):.2f} %"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _percent(number: str) -> str:
    return number if number == "–" else f"{number} %"


if __name__ == "__main__":
    program.run(main)
