"""What a train step sends between devices, read from the compiled program, and what that means for many accelerators.

Bytes are those of the optimized HLO for 8 devices, compiled on virtual CPU devices: each collective's result, and what
a device sends for it in a ring of n (all-reduce 2·(n − 1)/n of it, all-gather and reduce-scatter (n − 1)/n). XLA:CPU
leaves the gradients of the fsdp axis as an all-reduce followed by a slice; GPU and TPU compilers make a reduce-scatter
of the pair, which halves those bytes, so the figures for fsdp are an upper bound.

The estimate is weak scaling with 128 images a device: compute time 6 · multiply-adds · images / (utilisation · peak),
communication not overlapped with it, efficiency = compute / (compute + communication). It is arithmetic, not a
measurement. Assumed: products in TF32 at 40 % of an H100's 494 TFLOP/s; 450 GB/s from a device to the others of its
node of 8 (NVLink) and 50 GB/s to other nodes (400 Gb/s); rings within the nodes, then between them.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

TITLE = "bytes sent in one train step on 8 devices, and weak scaling estimated from them"

MESHES = ((8, 1), (1, 8), (4, 2))
NETS = ("resnet20", "wrn16_4", "wrn28_10")
IMAGES = 128  # on each device
PEAK, UTILISATION = 494e12, 0.4  # float32 products in TF32 on one H100: FLOP/s, and the share that convolutions reach
WITHIN, ACROSS = 450e9, 50e9  # bytes/s and direction of a device: NVLink inside a node of 8; 400 Gb/s between nodes
NODE = 8

_ROOT = Path(__file__).parents[2]
_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
_RING = {"all-reduce": 2.0, "all-gather": 1.0, "reduce-scatter": 1.0, "all-to-all": 1.0, "collective-permute": 1.0}


def run(quick: bool) -> list[dict]:
    """Compile each net's step for each mesh.

    Args:
        quick: the smallest net alone.

    Returns:
        one row a net and mesh: state bytes on one device, how many collectives of which kind, megabytes of their
        results, megabytes that one device sends, and the efficiency estimated for 8, 64 and 512 devices.
    """
    return [row for net in NETS[: 1 if quick else None] for row in _in_a_process(net)]


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """Kind -> (how many, bytes of their results) in the text of a compiled program."""
    found: dict[str, list[int]] = defaultdict(list)
    for result, kind in _COLLECTIVE.findall(program):
        found[kind].append(sum(_bytes(dtype, dims) for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", result)))
    return {kind: (len(sizes), sum(sizes)) for kind, sizes in found.items()}


def _bytes(dtype: str, dims: str) -> int:
    size = _SIZES[dtype]
    for dim in filter(None, dims.split(",")):
        size *= int(dim)
    return size


def sent(found: dict[str, tuple[int, int]], devices: int) -> float:
    """Bytes that one of `devices` in a ring sends for these collectives."""
    return sum(_RING[kind] * (devices - 1) / devices * size for kind, (_, size) in found.items())


def efficiency(found: dict[str, tuple[int, int]], multiply_adds: int, devices: int) -> float:
    """Compute time over compute and communication time: rings within the nodes, then between them."""
    compute = 6 * multiply_adds * IMAGES / (UTILISATION * PEAK)
    nodes = devices // NODE
    communication = sent(found, min(devices, NODE)) / WITHIN + sent(found, nodes) / NODE / ACROSS
    return compute / (compute + communication)


def _in_a_process(net: str) -> list[dict]:
    """Eight virtual devices have to be asked for before jax starts."""
    command = [sys.executable, "-m", "experiments.benchmarks.scaling", net]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(command, cwd=_ROOT, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _rows(net: str) -> list[dict]:
    import jax

    from cs231n_jax import models
    from cs231n_jax.config import Config
    from cs231n_jax.data import DataConfig
    from cs231n_jax.inspect.layers import multiply_adds
    from cs231n_jax.models import ModelConfig
    from cs231n_jax.optim import OptimizerConfig
    from cs231n_jax.train import plan, sharding
    from cs231n_jax.train.assemble import assemble
    from cs231n_jax.train.step import make_train_step

    rows = []
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    work = multiply_adds(models.create(net), image)
    for data, fsdp in MESHES:
        config = Config(
            model=ModelConfig(name=net),
            data=DataConfig(name="synthetic", batch_size=8 * 2),  # what is sent does not depend on it
            optimizer=OptimizerConfig(name="momentum", learning_rate=0.1, weight_decay=5e-4),
            mesh=sharding.MeshConfig(data=data, fsdp=fsdp),
        )
        assembly = assemble(config)
        lies = jax.tree.map(lambda x: x.sharding, assembly.state_shapes)
        step = make_train_step(assembly.task, assembly.optimizer, 0, mesh=assembly.mesh)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=lies)
        compiled = jitted.lower(assembly.state_shapes, assembly.batch_shapes).compile()
        found = collectives(compiled.as_text())
        held = compiled.memory_analysis().argument_size_in_bytes - plan.size(assembly.batch_shapes) // 8
        rows.append(
            {
                "net": net,
                "mesh data × fsdp": f"{data} × {fsdp}",
                "state MB a device": round(held / 1e6, 2),
                "collectives": ", ".join(f"{n} {kind}" for kind, (n, _) in sorted(found.items())),
                "MB of results": round(sum(size for _, size in found.values()) / 1e6, 2),
                "MB sent a device": round(sent(found, 8) / 1e6, 2),
                **{f"efficiency at {n}": f"{efficiency(found, work, n):.1%}" for n in (8, 64, 512)},
            }
        )
    return rows


if __name__ == "__main__":
    print(json.dumps(_rows(sys.argv[1])))
