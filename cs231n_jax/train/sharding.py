"""Where arrays live: a mesh of devices, the batch split over all of it, large leaves of the state over one axis.

Nothing here knows a model: what is split, and along which axis, follows from a leaf's shape alone, so parameters and
their optimizer slots, which have the same shapes, always lie alike. Only the carry lies as the batch does.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cs231n_jax.train import carry
from cs231n_jax.typing import Array, Batch, PyTree

BATCH_AXES = ("data", "fsdp")
SPLIT_FROM = 4096  # elements: a smaller leaf costs more to gather than to keep


@dataclass(kw_only=True, slots=True)
class MeshConfig:
    """How many devices along each axis; data=0 takes all that are left.

    The batch is split over both axes. Parameters and optimizer state are whole on every device along `data` and split
    along `fsdp` (fully sharded data parallelism): each device keeps 1 / fsdp of every large leaf.
    """

    data: int = 0
    fsdp: int = 1

    def validate(self) -> None:
        """Refuse impossible sizes; whether they fit the devices is seen when the mesh is made."""
        if self.data < 0 or self.fsdp < 1:
            raise ValueError(f"mesh.data={self.data} must be ≥ 0 (0: all devices) and mesh.fsdp={self.fsdp} ≥ 1")


def make_mesh(config: MeshConfig, batch_size: int) -> Mesh:
    """A mesh with axes ("data", "fsdp") over the devices at hand, those of all processes.

    Raises:
        ValueError: the sizes do not fit the number of devices, or the batch does not divide.
    """
    devices = jax.devices()
    data = config.data or len(devices) // config.fsdp
    if data * config.fsdp > len(devices) or data < 1:
        raise ValueError(
            f"mesh.data={config.data} × mesh.fsdp={config.fsdp} needs more than the {len(devices)} devices at hand"
        )
    if jax.process_count() > 1 and data * config.fsdp < len(devices):
        raise ValueError(
            f"mesh.data={config.data} × mesh.fsdp={config.fsdp} leaves some of the {len(devices)} devices of "
            f"{jax.process_count()} processes without work: use all of them (mesh.data=0 does)"
        )
    if batch_size % (data * config.fsdp):
        raise ValueError(
            f"data.batch_size={batch_size} does not divide over {data * config.fsdp} devices: choose a multiple"
        )
    grid = np.array(devices[: data * config.fsdp]).reshape(data, config.fsdp)
    return Mesh(grid, BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def leaf_sharding(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """How a leaf of the state lies: whole, or split along its longest axis that `fsdp` divides.

    Args:
        shape: the leaf's shape; of equally long axes the last is split.
        mesh: from `make_mesh`.
    """
    ways = mesh.shape["fsdp"]
    axes = [axis for axis, size in enumerate(shape) if size % ways == 0]
    if ways == 1 or math.prod(shape) < SPLIT_FROM or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*("fsdp" if axis == longest else None for axis in range(longest + 1))))


def state_shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """How every leaf lies (arrays or jax.ShapeDtypeStructs): by `leaf_sharding`, but a carry as the batch."""

    def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        carried = any(getattr(entry, "key", None) == carry.NAME for entry in path)
        return batch_sharding(mesh) if carried else leaf_sharding(np.shape(leaf), mesh)

    return jax.tree_util.tree_map_with_path(of, tree)


def with_shardings(tree: PyTree, shardings: PyTree) -> PyTree:
    """jax.ShapeDtypeStructs that say where each leaf will lie, to compile for.

    Args:
        tree: arrays or jax.ShapeDtypeStructs.
        shardings: of every leaf, or one for all.
    """
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda leaf: shardings, tree)
    return jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree, shardings)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """This process's slice of a batch onto its devices, as part of the one global batch."""
    where = batch_sharding(mesh)
    if where.is_fully_addressable:
        return jax.device_put(batch, where)
    return {name: jax.make_array_from_process_local_data(where, x) for name, x in batch.items()}


def put_state(state: PyTree, mesh: Mesh) -> PyTree:
    """Leaves of the state that every process holds onto their devices, each device getting its own shard alone."""
    return _put(state, state_shardings(state, mesh))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Arrays that every process has onto every device, whole."""
    return _put(tree, jax.tree.map(lambda leaf: replicated(mesh), tree))


def _put(tree: PyTree, shardings: PyTree) -> PyTree:
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def from_host(leaf: Any, where: NamedSharding) -> Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == where:
            return leaf
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    return jax.tree.map(from_host, tree, shardings)


def whole(params: PyTree, mesh: Mesh | None) -> PyTree:
    """Inside a compiled step: parameters gathered for use, leaf by leaf; nothing to do where none is split."""
    if mesh is None or mesh.shape["fsdp"] == 1:
        return params
    return jax.lax.with_sharding_constraint(params, replicated(mesh))


def split(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Inside a compiled step: gradients or new parameters laid out as the state is, the inverse of `whole`."""
    if mesh is None or mesh.shape["fsdp"] == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, state_shardings(tree, mesh))


def to_host(tree: PyTree) -> PyTree:
    """A tree of arrays as numpy arrays, whole in every process."""

    def gathered(x: Any) -> Any:
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            return multihost_utils.process_allgather(x, tiled=True)
        return x

    return jax.device_get(jax.tree.map(gathered, tree))
