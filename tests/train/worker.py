"""What tests run as one of several processes: some updates from wherever the run directory stands, then a snapshot.

python launch/multihost.py … tests.train.worker WORKDIR DATA FSDP STEPS DTYPE
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
    main(Path(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3])), int(sys.argv[4]), Precision(sys.argv[5]))
