"""Where arrays live: a mesh of devices, the batch split over it, the state replicated."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cs231n_jax.typing import Batch, PyTree

BATCH_AXES = ("data", "fsdp")


@dataclass(kw_only=True, slots=True)
class MeshConfig:
    """How many devices along each axis; data=0 takes all that are left.

    The batch is split over both axes. Parameters and optimizer state are whole on every device of either.
    """

    data: int = 0
    fsdp: int = 1

    def validate(self) -> None:
        """Refuse impossible sizes; whether they fit the devices is seen when the mesh is made."""
        if self.data < 0 or self.fsdp < 1:
            raise ValueError(f"mesh.data={self.data} must be ≥ 0 (0: all devices) and mesh.fsdp={self.fsdp} ≥ 1")


def make_mesh(config: MeshConfig, batch_size: int) -> Mesh:
    """A mesh with axes ("data", "fsdp") over the devices at hand.

    Raises:
        ValueError: the sizes do not fit the number of devices, or the batch does not divide.
    """
    devices = jax.devices()
    data = config.data or len(devices) // config.fsdp
    if data * config.fsdp > len(devices) or data < 1:
        raise ValueError(
            f"mesh.data={config.data} × mesh.fsdp={config.fsdp} needs more than the {len(devices)} devices at hand"
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


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """A host batch onto the devices."""
    return jax.device_put(batch, batch_sharding(mesh))


def put_state(state: PyTree, mesh: Mesh) -> PyTree:
    """A state onto the devices."""
    return jax.device_put(state, replicated(mesh))
