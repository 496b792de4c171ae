"""What tests run as one of several processes: some updates from wherever a run directory stands, then a snapshot.

python launch/multihost.py … tests.train.worker WORKDIR DATA FSDP STEPS DTYPE [WORKDIR …]
"""

import json
import sys
from pathlib import Path

import jax

from cs231n_jax.models import Precision
from cs231n_jax.train import processes, sharding, snapshots
from tests.train.test_devices import advance, assembly_of, compiled


def main(workdir: Path, mesh: tuple[int, int], steps: int, dtype: Precision) -> None:
    jax.config.update("jax_enable_x64", dtype is Precision.FLOAT64)
    assembly = assembly_of(mesh, dtype)
    done = processes.agree(snapshots.latest_good(workdir) or 0)
    if done:
        state = sharding.put_state(snapshots.restore(workdir, done, assembly.state_shapes), assembly.mesh)
    else:
        state = assembly.new_state()
    state = advance(assembly, compiled(assembly), state, done, steps)
    snapshots.save(workdir, state, snapshots.Kind.RESUME)
    indices = [assembly.pipeline.indices(i).tolist() for i in range(2 * assembly.pipeline.steps_per_epoch)]
    (workdir / f"indices_{jax.process_index()}.json").write_text(json.dumps(indices))


if __name__ == "__main__":
    for at in range(1, len(sys.argv), 5):
        folder, data, fsdp, count, name = sys.argv[at : at + 5]
        main(Path(folder), (int(data), int(fsdp)), int(count), Precision(name))
