"""The optimizers as a library of their own: what is installed, what is loaded, what is kept on disk."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.train import snapshots
from cs231n_jax.train.state import TrainState

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from cs231n_jax import optim
import jax.numpy as jnp
params = jnp.ones(3)
optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(optim.schedules.cosine(0.1, 10)))
updates, state = optimizer.update(params, optimizer.init(params), params)
assert bool(jnp.all(optim.apply_updates(params, updates) < 1))
heavy = "flax orbax tensorflow_datasets tensorflow grain sklearn optax torch matplotlib absl PIL ml_collections"
print(*set(heavy.split()) & set(sys.modules))
"""


def test_the_optimizers_load_jax_and_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.slow
def test_the_built_wheel_holds_the_package_and_works_beside_jax_alone(tmp_path):
    """In an environment that sees nothing but the wheel and what jax needs."""
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        place = tmp_path / "site"
        archive.extractall(place)
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cs231n_jax"}
    site = Path(np.__file__).parents[1]
    for name in ("jax", "jaxlib", "jaxtyping", "numpy", "ml_dtypes", "opt_einsum", "scipy", "wadler_lindig"):
        for part in (site / name, *site.glob(f"{name}.libs"), *site.glob(f"{name}-*.dist-info")):
            (place / part.name).symlink_to(part)
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    done = subprocess.run([python, "-c", PROGRAM], cwd=place, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.chain(optim.clip_by_global_norm(1.0), optim.adam(optim.schedules.cosine(0.1, 10)), optim.track_ema()),
        optim.drop_nonfinite(optim.rmsprop(0.1, centered=True, momentum=0.5), 2),
        optim.partition({"w": ("w", optim.momentum(0.1)), "b": (optim.OTHERS, optim.freeze())}),
        optim.masked(optim.adagrad(0.1), optim.not_vectors),
    ],
)
def test_a_state_survives_a_snapshot(optimizer, tmp_path):
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}

    def update(params, state):
        updates, state = optimizer.update(jax.tree.map(lambda p: jnp.sin(p) + 1, params), state, params)
        return optim.apply_updates(params, updates), state

    params, opt_state = update(params, optimizer.init(params))
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(
        step=zero + 1,
        params=params,
        model_state={},
        opt_state=opt_state,
        metrics={},
        dropped=zero,
        dropped_total=zero,
    )
    snapshots.save(tmp_path, state, snapshots.Kind.RESUME)
    restored = snapshots.restore(tmp_path, 1, jax.eval_shape(lambda: state))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    on, again = update(params, opt_state), update(*jax.tree.map(jnp.asarray, (restored.params, restored.opt_state)))
    for a, b in zip(jax.tree.leaves(on), jax.tree.leaves(again)):
        np.testing.assert_array_equal(a, b)
