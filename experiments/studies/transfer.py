"""The lecture's table of transfer learning, measured: which kind wins on similar and different data, little and much.

Every network goes through the one training loop in a run directory of its own, every probe through features that are
kept on the disk; what a seed of a cell found is kept beside them, so a study that is killed goes on where it was.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig, open_source
from cs231n_jax.interop import files, published
from cs231n_jax.models import ModelConfig, create, functional
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.train import initial, probes, record
from cs231n_jax.train import transfer as transfers
from cs231n_jax.train.encoder import EncoderConfig
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.snapshots import SnapshotConfig
from cs231n_jax.train.transfer import Transfer
from experiments.studies import Result, seeds, transfer_page
from experiments.studies.transfer_data import LITTLE, MUCH, QUICK, TARGETS, Target, prepared

Say = Callable[[str], None]
RATES = {True: 0.2, False: 0.1}  # of new weights beside given ones, which learn at a tenth of it; from scratch
UPDATES = {LITTLE: 120, MUCH: 250}
BATCHES = {LITTLE: 32, MUCH: 64}
TIMES = ("seconds", "processor_seconds")  # of a finding: by the clock, of the processor


class Origin(NamedTuple):
    """A trained network."""

    model: str = "resnet20"
    options: Mapping[str, Any] = MappingProxyType({"num_classes": 10})  # of the network of the weights
    weights: str = "resnet20_cifar10/resnet20.npz"  # from the working directory or $CS231N_WEIGHTS_DIR
    names: str = "resnet20"  # whose names the file has: a model's in torch or Caffe, "" for our own
    normalize: str = "imagenet"

    def given(self) -> InitialConfig:
        """The weights to begin with."""
        options = {**self.options} if self.names else {}
        return InitialConfig(weights=self.weights, model=self.names, options=options)


class Setting(NamedTuple):
    """What is measured."""

    origin: Origin
    targets: Mapping[str, Target]
    amounts: tuple[str, ...] = (LITTLE, MUCH)
    ways: tuple[Transfer, ...] = tuple(Transfer)
    seeds: int = 3
    updates: Mapping[str, int] = UPDATES
    few: int = 1
    factor: float = transfers.FACTOR
    rate: float = 0.0  # of new weights; 0: that of `RATES`


def of_run(workdir: Path) -> Origin:
    """The network of a run directory: what it is, and how its images were normalised, stands in the run's config.

    *Deviation*: where that is "dataset", targets are normalised by their own mean and deviation: no file of the run has
    those of its data.

    Raises:
        FileNotFoundError, ValueError: as `record.stored_config`.
    """
    config = record.stored_config(workdir)
    options = {name: value for name, value in config.model.options.items() if name != "frozen"}
    options["num_classes"] = create(config.model.name, **options).num_classes
    return Origin(config.model.name, options, str(workdir), "", config.data.normalize.value)


Found = dict[tuple[str, str], list[dict[str, dict[str, Any]]]]  # by (target, amount) and seed: way -> what it found


def study(workdir: Path, quick: bool) -> Result:
    """Transfer learning by the lecture's table: which kind wins on similar and different data, little and much?

    One network is carried over to other data in five ways, each with as much of the data: "probe_top", a logistic
    regression on its last features; "probe_stages", one on the features of every stage, of which a fifth of the
    training images chooses; "finetune_few", the last stage learns on with a new last layer; "finetune_many", all of it
    does; "scratch", the same network without the weights. Frozen stages keep their batch statistics and normalise by
    them. Given weights learn at a tenth of the rate of new ones (the lecture's rule).

    Source: the published ResNet-20 of CIFAR-10 (8.27 % error there). Targets: cifar100 (similar), mnist and easy_vqa
    (different; of easy_vqa the colour and the shape in a picture, 24 classes, of the pictures whose questions tell
    both). "Little" is 10 images of a class, "much" up to 80 (cifar100, of which 8,000 are here), 250 (mnist, 3,000),
    100 (easy_vqa, 1,272), chosen anew for each seed. Tested on the first 2,000 test images, or all there are.

    Training: momentum 0.9, weight decay 1e-4, 120 updates of 32 images (little) or 250 of 64 (much), crops, for
    cifar100 flips too. The rate is 0.2 for new weights beside given ones, at which a new last layer learns in so few
    updates, and 0.1 from scratch, on a cosine to 0. These are the same for all targets; by what images they were chosen
    is on no record.
    Probes: maps are averaged over as many places as give at most 256 numbers a stage; the penalty is one of five. It
    and the stage are chosen by a fifth of the training images alone.

    Two things to know before the ways are compared. The trainings are short ("much" of cifar100 is seen twice), while
    the probes are fitted until they gain little or for 200 iterations: what finetuning, and most of all training from
    scratch, reach with more updates is not measured here. And a stage gives 256 numbers (stage2 128), the top 64: a
    part of what "probe_stages" gains on "probe_top" may be that width.

    What is found is kept: the time below is that of the call that printed this page, and the sum over all calls, but
    for what was killed, is in the last sentence. "±" is the standard error over the seeds; it does not hold the error
    of so few test images, nor, where "much" is all that is here (cifar100, easy_vqa), that of the training images,
    which then differ in their order alone. A verdict takes the 95 % interval of the paired differences between the
    advised way and each other one by Student's t, each pair by itself: an advice is confirmed by a target where the
    advised way leads all others beyond it, refuted where one of them leads the advised way beyond it, and not decided
    elsewhere, as where ways are equal.

    Reference: Yosinski et al. 2014, "How transferable are features in deep neural networks?"; Kornblith et al. 2019,
    "Do Better ImageNet Models Transfer Better?".
    """
    setting = quick_setting(workdir) if quick else Setting(Origin(), TARGETS)
    found = measured(setting, workdir / "transfer", print if not quick else lambda text: None)
    return transfer_page.result(workdir / "transfer.png", setting.targets, found, setting.origin.normalize)


def quick_setting(workdir: Path) -> Setting:
    """A net of no skill on few digits: to see that it works."""
    options = {"hidden": (8, 6)}
    weights = workdir / "transfer" / "drawn.npz"
    if not weights.exists():
        shape = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
        weights.parent.mkdir(parents=True, exist_ok=True)
        files.write(weights, files.to_flat(*functional.init(create("mlp", **options), 7, shape)))
    origin = Origin("mlp", options, str(weights.resolve()), "", "dataset")
    return Setting(origin, QUICK, (LITTLE,), seeds=1, updates={LITTLE: 2})


def measured(setting: Setting, workdir: Path, say: Say) -> Found:
    """What every cell found, from its files or measured now.

    Args:
        setting: what.
        workdir: where data, runs and findings are kept.
        say: told of every step.

    Raises:
        ValueError: the network has not so many stages, or what is kept is of another setting or of other weights.
    """
    found: Found = {(name, amount): [] for name in setting.targets for amount in setting.amounts}
    for way in setting.ways:
        transfers.rules(way, create(setting.origin.model, **setting.origin.options), setting.few, setting.factor)
    begins = any(transfers.RECIPES[way].begins for way in setting.ways)
    given = initial.read(setting.origin.given()) if begins else {}
    files = {}
    for name, amount in found:
        target = setting.targets[name]
        made = prepared(target, amount, range(setting.seeds), workdir / "data")
        channels = _channels(setting.origin, given, made[0])
        files[name, amount] = {seed: dataclasses.replace(data, channels=channels) for seed, data in made.items()}
        grey = ", but in one channel, grey, as the weights know images" if channels == 1 else ""
        say(f"{name}, {amount}: {target.was}{grey}; {transfer_page.normalised(setting.origin.normalize)}")
    digest = initial.digest(setting.origin.given()) if begins else {}
    for name, amount in found:
        _refuse_other_weights(setting.origin, digest, workdir / f"{name}_{amount}" / "weights.json")
    for seed in range(setting.seeds):
        for (name, amount), by_seed in found.items():
            place, data = workdir / f"{name}_{amount}", files[name, amount][seed]
            by_seed.append(_seed(setting, setting.targets[name], amount, seed, data, place, say))
    return found


def _channels(origin: Origin, given: Mapping[str, Any], data: DataConfig) -> int:
    """1 where the weights fit grey images of this size and not coloured ones, else 3."""
    model, (height, width, _) = create(origin.model, **origin.options), open_source(data, "train").info.shapes["image"]

    def fit(channels: int) -> bool:
        image = jax.ShapeDtypeStruct((1, height, width, channels), np.float32)
        wanted = published.flat({"params": functional.shapes(model, image)[0]})
        return all(path in given and given[path].shape == leaf.shape for path, leaf in wanted.items())

    return 1 if fit(1) and not fit(3) else 3


def _refuse_other_weights(origin: Origin, digest: Mapping[str, str], path: Path) -> None:
    """Refuse weights that are not those that a cell was begun with, whatever the name of their file."""
    if not digest:
        return
    if not path.exists():
        found = sorted(path.parent.glob("seed*.json"))
        if used := [one.name for one in found if not one.stem.endswith(Transfer.SCRATCH.value)]:
            raise ValueError(
                f"{path.parent} has findings ({used[0]}) and no {path.name}, which says of which weights they are: put "
                "it back beside them, or give another --workdir"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        record.write_json(path, digest)
    if record.read_json(path) != digest:
        raise ValueError(
            f"{origin.weights} does not hold the weights that {path.parent} was begun with: restore them, or give "
            "another --workdir"
        )


def _seed(
    setting: Setting, target: Target, amount: str, seed: int, data: DataConfig, workdir: Path, say: Say
) -> dict[str, dict[str, Any]]:
    """What each way found, by its name."""
    data = dataclasses.replace(data, batch_size=1, normalize=type(data.normalize)(setting.origin.normalize))
    rest = [way for way in setting.ways if not transfers.RECIPES[way].in_one_pass]
    asked = [way for way in setting.ways if transfers.RECIPES[way].in_one_pass]
    origin = setting.origin._asdict()
    origin |= {"options": {**origin["options"]}, "weights": Path(setting.origin.weights).name}
    essence = {"origin": origin, "data": data.name, **({"channels": 1} if data.channels == 1 else {})}
    found: dict[str, dict[str, Any]] = {}
    if asked:
        path = workdir / f"seed{seed}_probes.json"
        every = seeds.kept(path, essence, partial(_timed, partial(_probed, setting.origin, data, say)))
        found |= {way.value: every[way.value] for way in asked}
        both = {name: every[Transfer.PROBE_TOP.value][name] for name in ("images", "tests", *TIMES)}
        found[asked[0].value] = {**found[asked[0].value], **both}
    for way in rest:
        path = workdir / f"seed{seed}_{way.value}.json"
        run, model_shapes = _config(setting, target, amount, seed, data, way)
        for line in initial.told(run.initial, model_shapes) if seed == 0 else []:
            say(f"{data.name} {way.value}: {line}")
        place = workdir / f"seed{seed}_{way.value}"
        more = {**essence, "few": setting.few, "factor": setting.factor, "updates": setting.updates[amount]}
        more |= {"rate": setting.rate} if setting.rate else {}
        found |= seeds.kept(path, more, partial(_timed, partial(_trained, way, run, place)))
        say(f"{data.name} {way.value}: {found[way.value]['accuracy']:.2%}")
    return found


def _timed(measure: Callable[[], dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """With the seconds that it took, by the clock and of the processor, beside the first way."""
    start = time.perf_counter(), time.process_time()
    found = measure()
    took = dict(zip(TIMES, (time.perf_counter() - start[0], time.process_time() - start[1])))
    first, *rest = found
    return {first: {**found[first], **took}, **{way: found[way] for way in rest}}


def _trained(way: Transfer, config: Config, workdir: Path) -> dict[str, dict[str, Any]]:
    result = record.read_json(seeds.trained(config, workdir) / "result.json")
    return {way.value: {"accuracy": result["eval"]["accuracy"]}}


def _config(
    setting: Setting, target: Target, amount: str, seed: int, data: DataConfig, way: Transfer
) -> tuple[Config, Any]:
    """The run of one way, and the shapes of its parameters."""
    source = open_source(data, "train")
    batch = min(BATCHES[amount], len(source))
    origin, begins = setting.origin, transfers.RECIPES[way].begins
    options = {**origin.options, "num_classes": source.info.num_classes}
    config = Config(
        seed=seed,
        model=ModelConfig(name=origin.model, options=options),
        data=dataclasses.replace(data, batch_size=batch, eval_batch_size=250, augment=target.augment),
        optimizer=OptimizerConfig(name="momentum", learning_rate=setting.rate or RATES[begins], weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(steps=str(setting.updates[amount]), log_every="25%", eval_every="0", save_every="50%"),
        snapshots=SnapshotConfig(keep=1),
    )
    model, shape = create(origin.model, **options), source.info.shapes["image"]
    params, _ = functional.shapes(model, jax.ShapeDtypeStruct((1, *shape), np.float32))
    factors = transfers.rules(way, model, setting.few, setting.factor)
    return transfers.applied(config, origin.given(), factors, shape, begins), params


def _probed(origin: Origin, data: DataConfig, say: Say) -> dict[str, dict[str, Any]]:
    """Both kinds of probes; the accuracy of every stage comes with that of the stages."""
    encoder = EncoderConfig(model=origin.model, options={**origin.options}, weights=origin.weights, stage=probes.TOP)
    splits = {}
    for part in ("train", "eval"):
        source: Any = open_source(data, part)
        kept = probes.features(encoder, data, source)
        say(kept.told)
        splits[part] = kept.arrays, source[np.arange(len(source))]["label"]
    (train, labels), (test, truth) = splits["train"], splits["eval"]
    found = probes.of_stages(train, labels, {stage: probes.Split(x, truth) for stage, x in test.items()})
    curve = {stage: float(one.right.mean()) for stage, one in found.items()}
    chosen = best_stage({stage: one.validation for stage, one in found.items()})
    say(f"{data.name} probes: " + ", ".join(f"{stage} {accuracy:.2%}" for stage, accuracy in curve.items()))
    penalties = {stage: one.penalty for stage, one in found.items()}
    return {
        Transfer.PROBE_TOP.value: {"accuracy": curve[probes.TOP], "images": len(labels), "tests": len(truth)},
        Transfer.PROBE_STAGES.value: {
            "accuracy": curve[chosen],
            "stage": chosen,
            "curve": curve,
            "penalties": penalties,
        },
    }


def best_stage(validation: Mapping[str, float]) -> str:
    """The stage whose probe gets most of what was held out right; of equals the last, which is what one has anyway."""
    return max(reversed(list(validation)), key=lambda stage: validation[stage])


STUDIES = {"transfer": study}
