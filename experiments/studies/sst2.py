"""An LSTM and logistic regressions over words on SST-2; on sentences with negations or "but" too."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.metrics import scores
from cs231n_jax.train import evaluate, snapshots
from cs231n_jax.train.assemble import assemble
from experiments.configs import sentiment
from experiments.configs import sst2 as recipe
from experiments.studies import Result, seeds
from experiments.studies.drawing import canvas, save

# fmt: off
TURNING = frozenset((
    "not", "n't", "no", "never", "neither", "nor", "none", "nobody", "nothing", "nowhere", "cannot", "without",
    "hardly", "barely", "scarcely", "but",
))
# fmt: on
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # C of scikit-learn, chosen on the validation split
REGRESSIONS = {"unigrams": (1, 1), "unigrams and bigrams": (1, 2)}
BASELINE, NETWORK, TOGETHER = "unigrams", "LSTM", "LSTMs together"
PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "all": np.ones_like,
    "turning": np.asarray,
    "others": np.logical_not,
}
WORDS = {"all": "all {:,}", "turning": 'the {:,} with a negation or "but"', "others": "the {:,} others"}


class Setting(NamedTuple):
    """What is trained on what."""

    config: Config
    splits: tuple[str, ...]  # the first is what choices are made on, the last what is judged by
    seeds: int = 3


QUICK = Setting(sentiment.get_config(), ("test",), seeds=2)
QUICK.config.data.name = "sentiment_grammar:200"
QUICK.config.model.options |= {"vocabulary": 101, "hidden": 4}
QUICK.config.train.steps, QUICK.config.schedule.warmup = "1ep", "0"


class Split(NamedTuple):
    """One split: its texts in the order of the source, their labels, and which of them have a word of TURNING."""

    texts: Sequence[str]
    labels: np.ndarray
    turning: np.ndarray


def study(workdir: Path, quick: bool) -> Result:
    """Does an LSTM read sentences better than a logistic regression that counts words? SST-2, and what "not" does.

    Trained on the 6,920 sentences of glue/sst2 here (sentences, not phrases), in one command: the config `sst2`, an
    LSTM in both directions without any pretrained vectors, with three seeds, and scikit-learn's logistic regression
    over which words, or words and pairs of neighbours, are in a sentence. The strength of its penalty, and the number
    of epochs, the rate, the pooling and the start of the embedding of the LSTM, were chosen on the 872 validation
    sentences; the 1,821 test sentences had no part in any choice. "LSTMs together": the mean of the probabilities of
    the three seeds.

    "turning" are the sentences with one of the words not, n't, no, never, neither, nor, none, nobody, nothing, nowhere,
    cannot, without, hardly, barely, scarcely, but; "others" are those without. Errors of accuracies are binomial,
    √(p·(1 − p)/N); "± seeds" is the standard error of the mean over the seeds. "beside" is the accuracy minus that of
    the unigrams, with the standard error of the differences sentence by sentence (of the LSTM, whose right answers are
    averaged over the seeds). One side is said to win where the difference is more than two of its errors.

    Reference: Socher et al. 2013, "Recursive deep models for semantic compositionality over a sentiment treebank",
    section 5 (negation and "but"); Wang, Manning 2012, "Baselines and bigrams".
    """
    setting = QUICK if quick else Setting(recipe.get_config(), ("validation", "test"))
    splits = {name: split_of(setting.config.data, name) for name in setting.splits}
    right = {name: _regression(setting, splits, ngrams) for name, ngrams in REGRESSIONS.items()}
    networks = [_network(setting, seed, workdir / "sst2" / f"seed{seed}") for seed in range(setting.seeds)]
    found = {name: np.stack([network[name] for network in networks]) for name in splits}
    right[NETWORK] = {name: found[name].argmax(-1) == split.labels for name, split in splits.items()}
    right[TOGETHER] = {name: found[name].mean(0, keepdims=True).argmax(-1) == s.labels for name, s in splits.items()}
    rows = [
        _row(model, split, part, right[model][split], right[BASELINE][split], splits[split])
        for split in splits
        for part in PARTS
        for model in right
    ]
    numbers = {f"{row['split']}, {row['sentences']}: {row['model']}": row["accuracy (%)"] for row in rows}
    return Result(_figure(workdir, setting, rows), numbers, _sentence(setting, rows), rows)


def split_of(data: DataConfig, name: str) -> Split:
    """The texts of a split in the order of its source, and their labels."""
    source: Any = open_source(dataclasses.replace(data, eval_split=name), "eval")
    return Split(source.texts["token"], source.arrays["label"], turns(source.texts["token"]))


def turns(texts: Sequence[str]) -> np.ndarray:
    """Which texts have a word of TURNING: bool [N]."""
    return np.array([not TURNING.isdisjoint(text.lower().split()) for text in texts])


def _regression(setting: Setting, splits: dict[str, Split], ngrams: tuple[int, int]) -> dict[str, np.ndarray]:
    """By split, which sentences the best of the regressions gets right: bool [1, N]."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    training: Any = open_source(setting.config.data, "train")
    counter = CountVectorizer(token_pattern=r"\S+", ngram_range=ngrams, binary=True)
    words, labels = counter.fit_transform(training.texts["token"]), training.arrays["label"]
    chosen, found = splits[setting.splits[0]], []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=1000).fit(words, labels)
        found.append((model.score(counter.transform(chosen.texts), chosen.labels), -strength, model))
    best = max(found, key=lambda one: one[:2])[2]
    return {name: (best.predict(counter.transform(s.texts)) == s.labels)[None] for name, s in splits.items()}


def _network(setting: Setting, seed: int, workdir: Path) -> dict[str, np.ndarray]:
    """By split, the probabilities of one seed, float64 [N, K]."""
    config = dataclasses.replace(setting.config, seed=seed)
    assembly = assemble(config)
    _, params, model_state = snapshots.load(seeds.trained(config, workdir))
    weights = jax.device_put(params), jax.device_put(model_state)
    run = jax.jit(lambda batch: jax.nn.softmax(assembly.task.predict(*weights, batch)))
    found = {}
    for name in setting.splits:
        source = open_source(dataclasses.replace(config.data, eval_split=name), "eval")
        there = dataclasses.replace(assembly, eval_source=source)
        found[name] = evaluate.outputs(there, lambda batch, number: (run(batch), batch["mask"]))
    return found


def _row(model: str, split: str, part: str, right: np.ndarray, baseline: np.ndarray, given: Split) -> dict[str, Any]:
    """`right`: of each seed, which sentences; the baseline has one."""
    chosen = PARTS[part](given.turning)
    right, baseline = right[:, chosen].astype(float), baseline[0, chosen].astype(float)
    accuracy, count = float(right.mean()), int(chosen.sum())
    gain, error = scores.paired_difference(right.mean(0), baseline)
    own = {} if model == BASELINE else {"beside (points)": 100 * gain, "± beside": 100 * error}
    return {
        "split": split,
        "sentences": part,
        "number": count,
        "model": model,
        "accuracy (%)": 100 * accuracy,
        "± binomial": 100 * scores.standard_error(accuracy, count),
        "± seeds": 100 * seeds.error(right.mean(1)) if len(right) > 1 else "",
        **own,
    }


def _figure(workdir: Path, setting: Setting, rows: list[dict[str, Any]]) -> Path:
    figure, axes = canvas(1, len(setting.splits), width=6)
    for axis, split in zip(axes, setting.splits):
        here = [row for row in rows if row["split"] == split]
        models = list(dict.fromkeys(row["model"] for row in here))
        for i, model in enumerate(models):
            own = [row for row in here if row["model"] == model]
            places = np.arange(len(own)) + 0.15 * (i - (len(models) - 1) / 2)
            means, errors = ([row[key] for row in own] for key in ("accuracy (%)", "± binomial"))
            axis.errorbar(places, means, yerr=errors, fmt="o", capsize=3, label=model)
        axis.set_xticks(range(len(PARTS)), [f"{row['sentences']} ({row['number']})" for row in here[:: len(models)]])
        axis.set(title=f"{setting.config.data.name}, {split}", ylabel="accuracy (%), ± binomial error")
    axes[0].legend(fontsize="small")
    return save(figure, workdir / "sst2.png")


def verdict(gain: float, error: float) -> str:
    """Who wins, by the rule of two standard errors."""
    if abs(gain) <= 2 * error:
        return "neither wins"
    return f"the {NETWORK if gain > 0 else 'unigrams'} win{'s' if gain > 0 else ''}"


def _sentence(setting: Setting, rows: list[dict[str, Any]]) -> str:
    last = {(row["sentences"], row["model"]): row for row in rows if row["split"] == setting.splits[-1]}
    told = []
    for part in PARTS:
        base, own = last[part, BASELINE], last[part, NETWORK]
        gain, error = own["beside (points)"], own["± beside"]
        told.append(
            f"on {WORDS[part].format(own['number'])} the {NETWORK} is right on {own['accuracy (%)']:.1f} %, the "
            f"{BASELINE} on {base['accuracy (%)']:.1f} %, {gain:+.1f} ± {error:.1f} points: {verdict(gain, error)}"
        )
    best = max((row for (part, _), row in last.items() if part == "all"), key=lambda row: row["accuracy (%)"])
    return (
        f"Of the {setting.splits[-1]} sentences, {'; '.join(told)}. The best of all on all of them is "
        f"{best['model']}, {best['accuracy (%)']:.1f} ± {best['± binomial']:.1f} %."
    )


STUDIES = {"sst2": study}
