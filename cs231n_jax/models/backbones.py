"""Any network of images of this package as the eyes of another model: one of its features, as places with a vector.

Model files do not know the registry, which knows them all; it is asked here, when a model is made or called.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.models import functional
from cs231n_jax.models.base import Mode, Model, stage_of
from cs231n_jax.ops.init import Spec
from cs231n_jax.typing import Array

NONE = "none"  # features of images are given, no images
BEHIND = ("pre_logits",)  # a feature that is no stage of its own, and has no parameters beyond those of all stages


class Backbone(nn.Module):
    """Images [N, H, W, C] -> the feature `stage` of the model `network`, [N, L, D]: L places, row by row.

    A feature [N, D] is one place. With "none" what is given is the feature: [N, D], or [N, h, w, D] of L = h·w places.
    The network's own parameters and statistics lie below this module's name, without those of the parts behind
    `stage`, which are not computed either.
    """

    network: str
    stage: str

    nests = True  # paths of the modules in it begin anew; see `functional.calls`

    def __call__(self, x: Array, mode: Mode) -> Array:
        """Run as `mode` says."""
        return as_places(x if self.network == NONE else self._feature(x, mode))

    def _feature(self, x: Array, mode: Mode) -> Array:
        network: Any = network_of(self.network)  # hashable, which a dataclass cannot tell a type checker
        whole, shape = _declared(network, self.stage, x.shape)
        names = {kind: [name for name in tree if reached(network, self.stage, name)] for kind, tree in whole.items()}
        if self.is_initializing():
            for kind, kept in names.items():
                for name in kept:
                    self.put_variable(kind, name, jax.tree.map(functional.Unset, whole[kind][name], is_leaf=_is_spec))
            return jnp.zeros(shape, x.dtype)
        variables = {kind: self._filled(kind, tree, names[kind]) for kind, tree in whole.items()}
        params, state = variables.pop("params"), variables
        if mode.train and self.is_mutable_collection("batch_moments"):
            state["batch_moments"] = {}
        key = self.make_rng("noise") if mode.noise else None
        features, new = functional.apply(
            network, params, state, x, key=key, train=mode.train, noise=mode.noise, method="features"
        )
        if mode.train:
            for kind, tree in new.items():
                for name in (name for name in tree if reached(network, self.stage, name)):
                    self.put_variable(kind, name, tree[name])
        return features[self.stage]

    def _filled(self, kind: str, tree: dict[str, Any], kept: list[str]) -> dict[str, Any]:
        """The variables of the whole network: zeros for what is not reached, which nothing that is read depends on."""
        there = {name: self.get_variable(kind, name) for name in kept}
        if lacking := [name for name, value in there.items() if value is None]:
            raise ValueError(f"{kind} lack {'/'.join((*self.path, lacking[0]))}")
        zeros = functools.partial(jax.tree.map, lambda spec: jnp.zeros(spec.shape, spec.dtype), is_leaf=_is_spec)
        return {name: there[name] if name in there else zeros(specs) for name, specs in tree.items()}


def reached(network: Model, stage: str, name: str) -> bool:
    """Whether a part of the network lies before the end of a stage; its features are a function of these parts."""
    if stage_of(name) not in network.stages:
        return False  # the heads
    return stage in BEHIND or network.stages.index(stage_of(name)) <= network.stages.index(stage)


def as_places(x: Array) -> Array:
    """[N, D] -> [N, 1, D]; [N, h, w, D] -> [N, h·w, D]; [N, L, D] as it is."""
    return x[:, None] if x.ndim == 2 else x.reshape((x.shape[0], -1, x.shape[-1]))


def grid(network: str, stage: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the L = rows·columns places of a backbone.

    Args:
        network: of images; or "none".
        stage: of it.
        shape: of the images [N, H, W, C]; or of the features.
    """
    eyes: Any = None if network == NONE else network_of(network)  # hashable, as above
    feature = shape if eyes is None else _declared(eyes, stage, shape)[1]
    rows, columns = feature[1:3] if len(feature) == 4 else (1, 1) if len(feature) == 2 else (1, feature[1])
    return rows, columns


def side_by_side(places: Array) -> Array:
    """One vector an image, the features of all places: [N, L, D] -> [N, L·D]."""
    return places.reshape((places.shape[0], -1))


def network_of(name: str) -> Model:
    """The network of a name of the registry, with its default options."""
    from cs231n_jax.models import registry

    return registry.create(name)


def check_options(model: str, network: str, stage: str) -> None:
    """Refuse a network or a stage that there is not.

    Args:
        model: the name of the model that has the options `backbone` and `stage`, for the message.
        network: `backbone`.
        stage: `stage`.

    Raises:
        ValueError: the message says what there is.
    """
    from cs231n_jax.models import registry

    if network == NONE:
        if stage:
            raise ValueError(f"option stage={stage!r} of model {model!r} must be '' where backbone is {NONE!r}")
        return
    fitting = [name for name, row in registry.VARIANTS.items() if row.module.reads == ("image",)]
    if network not in fitting:
        raise ValueError(
            f"option backbone={network!r} of model {model!r} must be {NONE!r} or a network of images"
            f"{registry.nearest(network, fitting)}, one of {', '.join(sorted(fitting))}"
        )
    stages = (*network_of(network).stages, *BEHIND)
    if stage not in stages:
        raise ValueError(
            f"option stage={stage!r} of model {model!r}: backbone {network!r} has no stage {stage!r}"
            f"{registry.nearest(stage, stages)}; it has {', '.join(stages)}"
        )


def check_images(model: str, network: str, x: Array) -> None:
    """Refuse what is no batch of images for the network or, without one, no batch of features; raises ValueError."""
    if network != NONE:
        network_of(network).clone(parent=None, name=model).check_input(x)
    elif x.ndim not in (2, 4) or 0 in x.shape:
        raise ValueError(
            f"{model} takes features [N, D] or [N, h, w, D] where backbone is {NONE!r}, got shape {list(x.shape)}"
        )


@functools.lru_cache(maxsize=64)
def _declared(network: Model, stage: str, shape: tuple[int, ...]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The specs of a network's variables by collection, and the shape of a feature, for images of this shape."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    found = functional.outputs(network, images, method="features")
    return functional.specs(network, images), found[stage].shape


def _is_spec(node: Any) -> bool:
    return isinstance(node, Spec)
