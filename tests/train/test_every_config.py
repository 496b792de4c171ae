"""What every config promises, each in its shortest form: a new config is covered by existing."""

import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from cs231n_jax.models import Precision
from cs231n_jax.train import sharding, snapshots
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.step import make_train_step
from tests.programs import PROCESSES
from tests.train import shortest

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(str(p) for p in (ROOT / "experiments" / "configs").glob("*.py") if p.stem != "replay")

# Of images with statistics, and a text with a carry; the slow run has all.
QUICK = ("cifar10_resnet", "char_lm")
every_config = pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, marks=() if Path(text).stem in QUICK else pytest.mark.slow, id=Path(text).stem)
        for text in CONFIGS
    ],
)


def ends(target, *arguments) -> int:
    """The exit code of a real process that trains; negative: the signal that killed it."""
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


@every_config
def test_killed_interrupted_and_damaged_it_ends_with_the_same_bytes(text, tmp_path, request):
    cache = request.config.rootpath / ".pytest_cache" / "xla"
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    assert ends(shortest.killed, text, rough, cache) == -signal.SIGKILL
    assert ends(shortest.interrupted, text, rough, calm, cache) == 0
    assert (rough / "metrics.jsonl").read_bytes() == (calm / "metrics.jsonl").read_bytes()
    states = [snapshots.load(workdir, shortest.STEPS) for workdir in (calm, rough)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for a, b in zip(*map(jax.tree.leaves, states)):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@every_config
def test_a_step_on_eight_devices_is_that_of_one(text, x64):
    after = []
    for data in (1, 8):
        with shortest.shortest(text, data, Precision.FLOAT64) as config:
            assembly = assemble(config)
            state = assembly.new_state()
            step = make_train_step(assembly.task, assembly.optimizer, config.seed, mesh=assembly.mesh)
            batch = sharding.put_batch(assembly.pipeline.batch(0), assembly.mesh)
            state = jax.jit(step)(state, batch)
            assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == data
            after.append(jax.device_get((state.params, state.model_state, state.metrics)))
    assert jax.tree.structure(after[0]) == jax.tree.structure(after[1])
    for one, eight in zip(*map(jax.tree.leaves, after)):
        np.testing.assert_allclose(eight, one, rtol=1e-10, atol=1e-10 * float(np.abs(one).max()))
