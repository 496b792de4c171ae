"""What the modules of each family are called in torch: one table a family.

Names of leaves and layouts of arrays follow from the kind of leaf, so a table names modules alone.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from cs231n_jax.models import registry
from cs231n_jax.models.googlenet import MODULES
from cs231n_jax.models.squeezenet import VERSIONS
from cs231n_jax.models.vgg import CONVOLUTIONS

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


class Names(NamedTuple):
    """The table of a family: patterns over our module path 'a/b' in the order in which they are tried."""

    rules: tuple[Rule, ...]
    flattened: dict[str, int] = {}  # noqa: RUF012  module that reads flattened maps -> their side; torch has C, H, W
    renamed: tuple[tuple[str, str], ...] = ()  # old torch names, as published files still have them

    def torch_name(self, path: str) -> str:
        """'stage1_block1/conv1/kernel' -> 'layer1.0.conv1.weight'.

        Raises:
            KeyError: no rule matches; a fault of the table.
            ValueError: torch's network has no such leaf.
        """
        module, _, leaf = path.rpartition("/")
        if leaf not in LEAVES:
            raise ValueError(f"torch's networks have nothing like {path}: take the model with its own activation")
        for pattern, replacement in self.rules:
            if match := re.fullmatch(pattern, module):
                name = replacement(match) if callable(replacement) else match.expand(replacement)
                return f"{name}.{LEAVES[leaf]}"
        raise KeyError(f"no torch name for {path}: add a rule to its family's table")

    def side(self, path: str) -> int:
        """Side of the maps that the kernel `path` reads flattened, or 0."""
        module, _, leaf = path.rpartition("/")
        return self.flattened.get(module, 0) if leaf == "kernel" else 0


def _resnet(shortcut: str, head: str) -> Names:
    def block(match: re.Match[str]) -> str:
        inner = match[3].replace("shortcut_conv", f"{shortcut}.0").replace("shortcut_norm", f"{shortcut}.1")
        return f"layer{match[1]}.{int(match[2]) - 1}.{re.sub('^norm', 'bn', inner)}"

    return Names((("stem_conv", "conv1"), ("stem_norm", "bn1"), (r"stage(\d)_block(\d+)/(\w+)", block), ("head", head)))


def _vgg(depth: int, batch_norm: bool) -> Names:
    rules, index = [], 0
    for stage, convolutions in enumerate(CONVOLUTIONS[depth], 1):
        for i in range(1, convolutions + 1):
            rules += [
                (f"stage{stage}/conv{i}", f"features.{index}"),
                (f"stage{stage}/norm{i}", f"features.{index + 1}"),
            ]
            index += 3 if batch_norm else 2  # convolution, batch norm, rectifier
        index += 1  # pooling
    rules += [("fc1", "classifier.0"), ("fc2", "classifier.3"), ("head", "classifier.6")]
    return Names(tuple(rules), {"fc1": 7})


def _googlenet() -> Names:
    units: list[Rule] = [(rf"stem_conv(\d)/{ours}", rf"conv\1.{theirs}") for ours, theirs in _CONV_UNIT]
    for module in MODULES:
        torch_module = module.replace("stage", "inception").replace("_", "")
        for branch, torch_branch in _BRANCHES.items():
            units += [(f"{module}/{branch}/{ours}", f"{torch_module}.{torch_branch}.{t}") for ours, t in _CONV_UNIT]
    auxiliary: list[Rule] = [(rf"(aux\d)/conv/{ours}", rf"\1.conv.{theirs}") for ours, theirs in _CONV_UNIT]
    rules = (*units, *auxiliary, (r"(aux\d)/(fc\d)", r"\1.\2"), ("head", "fc"))
    return Names(rules, {"aux1/fc1": 4, "aux2/fc1": 4})


_CONV_UNIT = (("conv", "conv"), ("norm", "bn"))
_BRANCHES = {
    "branch1": "branch1",
    "branch2_reduce": "branch2.0",
    "branch2": "branch2.1",
    "branch3_reduce": "branch3.0",
    "branch3": "branch3.1",
    "branch4": "branch4.1",
}

_ALEXNET = Names(
    (
        *((f"stage{i}/conv", f"features.{n}") for i, n in enumerate((0, 3, 6, 8, 10), 1)),
        ("fc1", "classifier.1"),
        ("fc2", "classifier.4"),
        ("head", "classifier.6"),
    ),
    {"fc1": 6},
)
_DENSENET = Names(
    (
        ("stem_(conv|norm)", r"features.\g<1>0"),
        (r"stage(\d)_layer(\d+)/(\w+)", r"features.denseblock\1.denselayer\2.\3"),
        (r"stage(\d)_transition/(\w+)", lambda m: f"features.transition{int(m[1]) - 1}.{m[2]}"),
        ("final_norm", "features.norm5"),
        ("head", "classifier"),
    ),
    renamed=((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),),
)


def _squeezenet(version: str) -> Names:
    rules: list[Rule] = [("stem_conv", "features.0")]
    index = 3  # after the stem, its rectifier and pooling
    for stage, fires in enumerate(VERSIONS[version].fires, 1):
        for fire in range(1, len(fires) + 1):
            rules.append((rf"stage{stage}_fire{fire}/(\w+)", rf"features.{index}.\1"))
            index += 1
        index += 1  # pooling
    return Names((*rules, ("head", "classifier.1")))


def _tables() -> dict[str, Names]:
    tables = {}
    for name in registry.VARIANTS:
        if match := re.fullmatch(r"vgg(\d+)(_bn)?", name):
            tables[name] = _vgg(int(match[1]), bool(match[2]))
        elif re.fullmatch(r"(wide_)?resnet(18|34|50|101|152)(_2)?", name):
            tables[name] = _resnet("downsample", "fc")
        elif re.fullmatch(r"resnet\d+", name):  # the CIFAR forms, as in akamaster/pytorch_resnet_cifar10
            tables[name] = _resnet("shortcut", "linear")
        elif re.fullmatch(r"densenet\d+", name):
            tables[name] = _DENSENET
    squeezenets = {"squeezenet": _squeezenet("1.1"), "squeezenet1_0": _squeezenet("1.0")}
    return {**tables, **squeezenets, "alexnet": _ALEXNET, "googlenet": _googlenet()}


NAMES: dict[str, Names] = _tables()
