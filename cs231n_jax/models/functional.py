"""Linen modules as pure functions: the only place that knows .init, .apply, mutable and rngs."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from cs231n_jax.ops import init as initialisers
from cs231n_jax.typing import Key, ModelState, Params

AT_ONCE = 64 << 20  # bytes of drawn leaves that wait on the host to be placed together


@jax.tree_util.register_pytree_node_class
class Unset(meta.AxisMetadata[jax.Array]):
    """Stands in a module for a variable that is yet to be drawn: a spec and no array."""

    def __init__(self, spec: initialisers.Spec):
        self.spec = spec

    def unbox(self) -> jax.Array:
        """Zeros of the right shape, enough to trace the module."""
        return jnp.zeros(self.spec.shape, self.spec.dtype)

    def replace_boxed(self, val: Any) -> Any:
        """Boxing again is never needed: the box goes away when the variable is drawn."""
        return val

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Unset":
        """Lifted transforms over parameters would change what a spec means."""
        raise NotImplementedError("a variable under nn.scan or nn.vmap: stack drawn parameters instead")

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Unset":
        """As `add_axis`."""
        return self.add_axis(index, params)

    def tree_flatten(self) -> tuple[tuple[()], initialisers.Spec]:
        """No children: the spec is static."""
        return (), self.spec

    @classmethod
    def tree_unflatten(cls, spec: initialisers.Spec, children: tuple[()]) -> "Unset":
        """Inverse of tree_flatten."""
        del children
        return cls(spec)


def specs(model: nn.Module, *inputs: Any) -> dict[str, Any]:
    """The specs of all variables of a model, by collection, from one abstract run of its training graph.

    Args:
        model: a module made by `models.create`.
        *inputs: arrays or jax.ShapeDtypeStructs that the model is called on.

    Returns:
        {"params": nested dict of Spec, "batch_stats": ..., ...}.

    Raises:
        ValueError: a variable was declared without a spec; the message names its path.
    """
    boxed = jax.eval_shape(lambda *xs: model.init(jax.random.key(0), *xs, train=True, noise=False), *inputs)

    def unbox(path: Any, leaf: Any) -> initialisers.Spec:
        if not isinstance(leaf, Unset):
            raise ValueError(
                f"variable {path_name(path)} has no initialiser spec: declare it with layers.parameter "
                "or layers.variable, which take one"
            )
        return leaf.spec

    variables = jax.tree_util.tree_map_with_path(unbox, boxed, is_leaf=lambda x: isinstance(x, Unset))
    return {"params": {}, **variables}


def shapes(model: nn.Module, *inputs: Any) -> tuple[Params, ModelState]:
    """What `init` would give, as jax.ShapeDtypeStructs; nothing is drawn."""

    def shape(spec: initialisers.Spec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(spec.shape, jnp.dtype(spec.dtype))

    variables = jax.tree.map(shape, specs(model, *inputs), is_leaf=lambda x: isinstance(x, initialisers.Spec))
    return variables.pop("params"), variables


def path_name(path: Any) -> str:
    """A key path of jax.tree_util as 'stage1/block1/conv1/kernel'."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def init(
    model: nn.Module, seed: int, *inputs: Any, place: Callable[[list[np.ndarray]], list[Any]] = jax.device_put
) -> tuple[Params, ModelState]:
    """Parameters and state of a model, drawn on the host leaf by leaf; a pure function of (seed, path of each leaf).

    Args:
        model: a module made by `models.create`.
        seed: the run's seed; a leaf's value depends on it and on the leaf's own path alone.
        *inputs: arrays or jax.ShapeDtypeStructs that the model is called on, for example images [N, H, W, C].
        place: puts drawn leaves where they shall live; called as soon as there are `AT_ONCE` bytes of them.

    Returns:
        (params, model_state): nested dicts of arrays; model_state is keyed by collection ("batch_stats", ...).

    Raises:
        ValueError: a variable was declared without a spec.
    """
    flat = {
        collection: jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: isinstance(x, initialisers.Spec))
        for collection, tree in specs(model, *inputs).items()
    }
    arrays = _drawn(seed, [(path_name(path), spec) for leaves, _ in flat.values() for path, spec in leaves], place)
    trees = {
        name: jax.tree.unflatten(structure, list(islice(arrays, len(leaves))))
        for name, (leaves, structure) in flat.items()
    }
    return trees.pop("params"), trees


def _drawn(
    seed: int, named: list[tuple[str, initialisers.Spec]], place: Callable[[list[np.ndarray]], list[Any]]
) -> Iterator[Any]:
    """The leaves in order, placed many at a time: a call for each of thousands takes longer than drawing them."""
    waiting, held = [], 0
    for path, spec in named:
        waiting.append(initialisers.draw(spec, seed, path))
        held += waiting[-1].nbytes
        if held >= AT_ONCE:
            yield from place(waiting)
            waiting, held = [], 0
    yield from place(waiting)


def apply(
    model: nn.Module,
    params: Params,
    model_state: ModelState,
    *inputs: Any,
    key: Key | None = None,
    train: bool = False,
    noise: bool | None = None,
    method: str | None = None,
) -> tuple[Any, ModelState]:
    """Run a model as a pure function.

    Args:
        model: a module made by `models.create`.
        params: nested dict of arrays.
        model_state: every other variable, by collection. An empty collection "batch_moments" asks BatchNorm layers
            to leave the plain moments of this batch there.
        *inputs: what the model is called on.
        key: PRNG key for the random regularizers; given exactly when noise is on.
        train: normalise by batch statistics and update the running ones.
        noise: switch the random regularizers on; default: the value of `train`. Monte-Carlo inference is
            train=False, noise=True.
        method: name of another method than __call__, such as "features".

    Returns:
        (outputs, model_state), the state updated when `train`, else as given.

    Raises:
        ValueError: noise is on and no key was given, or the reverse.
    """
    noise = train if noise is None else noise
    if noise and key is None:
        raise ValueError("noise is on (train or noise is True) but key is None: pass key=jax.random.key(...)")
    if key is not None and not noise:
        raise ValueError("a key was given but noise is off: leave key out, or pass noise=True")
    outputs, updated = model.apply(
        {"params": params, **model_state},
        *inputs,
        train=train,
        noise=noise,
        rngs={"noise": key} if key is not None else None,
        mutable=list(model_state) if train else [],
        method=method,
    )
    return outputs, {**model_state, **updated}


class Call(NamedTuple):
    """A module at work: where it is, what it is, the shape of its output, the specs of its own parameters."""

    path: str
    kind: str
    output: tuple[int, ...]
    parameters: dict[str, initialisers.Spec]


def calls(model: nn.Module, *inputs: Any) -> list[Call]:
    """The modules of a model that have parameters of their own, in the order in which they finish in inference.

    Args:
        model: a module made by `models.create`.
        *inputs: arrays or jax.ShapeDtypeStructs that the model is called on; nothing is computed.
    """
    found: list[Call] = []
    params = specs(model, *inputs)["params"]
    within: list[tuple[str, ...]] = [()]  # where a model stands that is called inside another as a pure function

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        path = (*within[-1], *context.module.path)
        nests = getattr(context.module, "nests", False)
        within.extend([path] * nests)
        output = call(*args, **kwargs)
        del within[len(within) - nests :]
        own = _own_specs(params, path)
        if own and not context.module.is_initializing():
            kind = type(context.module).__name__
            shape = jax.tree.leaves(output)[0].shape  # of a recurrent layer: its outputs, without the state
            found.append(Call("/".join(path), kind, shape, own))
        return output

    with nn.intercept_methods(record):
        outputs(model, *inputs)
    return found


def outputs(model: nn.Module, *inputs: Any, method: str | None = None) -> Any:
    """What a model returns in inference, as jax.ShapeDtypeStructs; nothing is computed.

    Args:
        model: a module made by `models.create`.
        *inputs: arrays or jax.ShapeDtypeStructs that the model is called on.
        method: name of another method than __call__, such as "features".
    """

    def run(variables: Any, *inputs: Any) -> Any:
        state = {name: tree for name, tree in variables.items() if name != "params"}
        return apply(model, variables["params"], state, *inputs, method=method)[0]

    def shape(spec: initialisers.Spec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(spec.shape, spec.dtype)

    variables = specs(model, *inputs)
    return jax.eval_shape(
        run, jax.tree.map(shape, variables, is_leaf=lambda x: isinstance(x, initialisers.Spec)), *inputs
    )


def _own_specs(params: Any, path: tuple[str, ...]) -> dict[str, initialisers.Spec]:
    for name in path:
        params = params.get(name, {})
    return {name: spec for name, spec in params.items() if isinstance(spec, initialisers.Spec)}
