"""Every config loads, validates, survives JSON and builds its model without an array."""

import dataclasses
import json
from pathlib import Path

import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, differences, from_json, to_json
from cs231n_jax.models import functional
from experiments import overrides

ROOT = Path(__file__).parents[1]
ARGUMENTS = {
    "alexnet": ("paper", "ungrouped", "torchvision"),
    "char_lm": ("lstm", "rnn", "gru"),
    "cifar10_resnet": ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110/gpu"),
    "densenet": ("densenet100_12", "densenet_bc100_12/cifar100", "densenet_bc250_24", "densenet_bc190_40"),
    "flickr8k": ("attention", "lstm", "assignment_rnn", "assignment_lstm"),
    "fractalnet": ("fractalnet20/cifar100", "fractalnet40"),
    "googlenet": ("googlenet", "googlenet_cifar"),
    "imagenet": ("resnet18", "resnet152", "wide_resnet50_2", "densenet121"),
    "lenet": ("modern", "1998"),
    "nin": ("cifar10", "cifar100"),
    "preresnet": ("preresnet110", "preresnet164/cifar100", "preresnet1001"),
    "stochastic_depth": ("cifar10", "cifar100"),
    "tiny_shakespeare": ("lstm", "rnn", "gru"),
    "vgg": ("vgg11_cifar", "vgg16_bn_cifar", "vgg16", "vgg19_bn"),
    "wide_resnet": ("wrn16_4", "wrn28_10/cifar100", "wrn40_10"),
}
FILES = sorted(p for p in (ROOT / "experiments" / "configs").glob("*.py") if p.stem != "replay")
CONFIGS = [f"{p}:{a}" for p in FILES for a in ARGUMENTS.get(p.stem, ())] + [str(p) for p in FILES]
PINNED = sorted((ROOT / "experiments" / "pinned").glob("*/config.json"))


@pytest.mark.parametrize("text", CONFIGS, ids=lambda t: t.rpartition("/")[2])
def test_config_is_whole(text):
    config = overrides.load(text)
    config.validate()
    assert to_json(from_json(json.loads(json.dumps(to_json(config))))) == to_json(config)
    row = models.registry.VARIANTS[config.model.name]
    model = models.create(config.model.name, **config.model.options)
    functional.specs(model, row.example())
    assert (Path(text.partition(":")[0]).read_text()).startswith('"""')


def test_resnet110_begins_with_four_hundred_updates_at_a_hundredth_and_suits_a_gpu():
    plain, gpu = (
        overrides.load(f"{ROOT}/experiments/configs/cifar10_resnet.py:resnet110{more}") for more in ("", "/gpu")
    )
    rate = plain.schedule.build(plain.optimizer.learning_rate, 64_000, 390)
    found = [float(rate(step)) for step in (0, 399, 400, 31_999, 32_000, 48_000)]
    assert found == pytest.approx([0.01, 0.01, 0.1, 0.1, 0.01, 0.001])
    assert {path.split(":")[0] for path in differences(to_json(plain), to_json(gpu))} == {
        *("model.dtype", "data.eval_batch_size"),
        *(f"train.{name}" for name in ("steps_per_call", "eval_every", "save_every")),
    }


@pytest.mark.parametrize(("cell", "decay"), [("rnn", 0.95), ("lstm", 0.995)])
def test_the_assignment_learns_fifty_captions_by_heart_at_its_own_rate(cell, decay):
    config = overrides.load(f"{ROOT}/experiments/configs/flickr8k.py:assignment_{cell}")
    model = models.create(config.model.name, **config.model.options)
    assert (model.hidden, model.embedding, model.num_classes, model.drop_rate) == (512, 256, 1004, 0.0)
    data = (config.data.limit, config.data.batch_size, config.data.text.longest, config.data.text.captions)
    assert data == (50, 25, 17, 1)
    rate = config.schedule.build(config.optimizer.learning_rate, 100, 2)
    assert [float(rate(step)) for step in (0, 1, 2, 99)] == pytest.approx([5e-3, 5e-3, 5e-3 * decay, 5e-3 * decay**49])
    assert (config.optimizer.name, config.optimizer.clip_norm, config.optimizer.weight_decay) == ("adam", 0.0, 0.0)


@pytest.mark.parametrize("path", PINNED, ids=lambda p: p.parent.name)
def test_pinned_record_loads(path):
    config = overrides.load(f"{ROOT}/experiments/configs/replay.py:{path}")
    config.validate()
    assert {"environment.json", "metrics.jsonl", "result.json"} <= {p.name for p in path.parent.iterdir()}


def test_fields_are_few_enough():
    """At most 12 fields a class, the flat ones of optimizer, schedule and data excepted."""
    for field in dataclasses.fields(Config):
        part = getattr(Config(), field.name)
        if dataclasses.is_dataclass(part) and field.name not in ("optimizer", "schedule", "data"):
            assert len(dataclasses.fields(part)) <= 12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {"learning_rat": 0.1}}, "did you mean learning_rate"),
        ({"seed": "1"}, "is a str, it must be a int"),
        ({"seed": True}, "is a bool"),
        ({"data": {"augment": 4}}, "is a int, it must be a str"),
    ],
)
def test_wrong_json_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        from_json(values)


def test_model_options_are_complete():
    config = Config()
    assert config.model.options == models.options(config.model.name)


def test_differences_are_listed_in_order():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "d": 4}}) == [
        "a.b: 1 → 3",
        "a.c: 2 → '(absent)'",
        "a.d: '(absent)' → 4",
    ]
