"""Snapshots: whole or not there, checked when read, readable without a template."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim
from cs231n_jax.metrics import Mean
from cs231n_jax.train import record, snapshots
from cs231n_jax.train.snapshots import DamagedSnapshotError, Kind
from cs231n_jax.train.state import TrainState


def state_at(step: int, seed: int = 0) -> TrainState:
    random = np.random.default_rng(seed + step)
    params = {"layer": {"kernel": jnp.asarray(random.standard_normal((3, 4)), jnp.float32)}, "b": jnp.ones(2)}
    params["half"] = jnp.asarray(random.standard_normal(5), jnp.bfloat16)
    return TrainState(
        step=jnp.int32(step),
        params=params,
        model_state={"batch_stats": {"layer": {"mean": jnp.zeros(4)}}},
        opt_state=optim.adam(1e-3).init(params),
        metrics={"loss": Mean(jnp.float32(1.5), jnp.float32(3))},
        dropped=jnp.int32(0),
        dropped_total=jnp.int32(0),
    )


@pytest.fixture
def workdir(tmp_path):
    record.write_json(tmp_path / "config.json", {"seed": 0})
    return tmp_path


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_restore_is_the_state(workdir):
    state = state_at(7)
    snapshots.save(workdir, state, Kind.RESUME)
    assert_equal(snapshots.restore(workdir, 7, jax.eval_shape(lambda: state_at(0))), jax.device_get(state))


def test_load_needs_no_template(workdir):
    state = state_at(7)
    snapshots.save(workdir, state, Kind.MEMBER)
    config, params, model_state = snapshots.load(workdir)
    assert config == {"seed": 0}
    assert_equal((params, model_state), jax.device_get((state.params, state.model_state)))


def test_saved_on_eight_devices_read_on_one(workdir):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    state = state_at(3)._replace(params={"w": jax.device_put(jnp.arange(16.0), sharding)})
    snapshots.save(workdir, state, Kind.MEMBER)
    assert np.array_equal(snapshots.load(workdir)[1]["w"], np.arange(16.0))


def test_a_renamed_snapshot_is_damaged(workdir):
    snapshots.save(workdir, state_at(3), Kind.RESUME)
    snapshots.directory(workdir, 3).rename(snapshots.directory(workdir, 5))
    with pytest.raises(DamagedSnapshotError, match="holds step 3: it was renamed"):
        snapshots.manifest(workdir, 5)
    assert snapshots.latest_good(workdir) is None


def test_stateless_model(workdir):
    snapshots.save(workdir, state_at(1)._replace(model_state={}), Kind.MEMBER)
    assert snapshots.load(workdir)[2] == {}


@pytest.mark.parametrize("kind", ["flip", "truncate", "remove", "add", "manifest"])
def test_any_damage_is_found_and_the_one_before_used(workdir, kind):
    for step in (1, 2):
        snapshots.save(workdir, state_at(step), Kind.RESUME)
    path = snapshots.directory(workdir, 2)
    for victim in sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size):
        shutil.copytree(path, workdir / "copy")
        damage(victim if kind != "manifest" else path / "manifest.json", kind)
        warnings = []
        assert snapshots.latest_good(workdir, warnings.append) == 1
        assert "step_00000002" in warnings[0]
        with pytest.raises(DamagedSnapshotError, match="step_00000002"):
            snapshots.load(workdir, 2)
        shutil.rmtree(path)
        (workdir / "copy").rename(path)


def damage(victim: Path, kind: str) -> None:
    content = bytearray(victim.read_bytes())
    if kind == "flip":
        content[len(content) // 2] ^= 0x10
        victim.write_bytes(bytes(content))
    elif kind == "truncate":
        victim.write_bytes(bytes(content[:-1]))
    elif kind == "remove":
        victim.unlink()
    elif kind == "add":
        (victim.parent / "stranger").write_text("x")
    else:
        victim.write_text("{")


def test_damaged_snapshot_is_set_aside_by_the_next_save(workdir):
    snapshots.save(workdir, state_at(5), Kind.RESUME)
    (snapshots.directory(workdir, 5) / "manifest.json").unlink()
    snapshots.save(workdir, state_at(5), Kind.RESUME)
    assert snapshots.latest_good(workdir) == 5
    assert (workdir / "snapshots" / "step_00000005.damaged0").is_dir()
    assert snapshots.steps(workdir) == [5]


def test_a_good_snapshot_is_replaced_by_one_of_another_kind(workdir):
    snapshots.save(workdir, state_at(5), Kind.RESUME, {"pending": "eval"})
    snapshots.save(workdir, state_at(5), Kind.MEMBER)
    assert snapshots.manifest(workdir, 5)["kind"] == "member"
    assert [p.name for p in (workdir / "snapshots").iterdir()] == ["step_00000005"]


def test_pruning_keeps_members_and_the_newest(workdir):
    for step in range(1, 7):
        snapshots.save(workdir, state_at(step), Kind.MEMBER if step == 2 else Kind.RESUME)
    snapshots.prune(workdir, keep=2)
    assert snapshots.steps(workdir) == [2, 5, 6]
    assert snapshots.members(workdir) == [2]


def test_pruning_never_counts_a_damaged_snapshot_as_kept(workdir):
    for step in range(1, 5):
        snapshots.save(workdir, state_at(step), Kind.RESUME)
    (snapshots.directory(workdir, 4) / "manifest.json").write_text("{}")
    snapshots.prune(workdir, keep=1)
    assert snapshots.latest_good(workdir) == 3
    assert snapshots.steps(workdir) == [3, 4]


def test_leftovers_of_kills_are_cleaned(workdir):
    snapshots.save(workdir, state_at(1), Kind.RESUME)
    for name in (".writing_step_00000002_99", ".removing_step_00000000"):
        (workdir / "snapshots" / name).mkdir()
    snapshots.clean(workdir)
    assert [p.name for p in (workdir / "snapshots").iterdir()] == ["step_00000001"]


def test_other_models_are_refused_by_path(workdir):
    snapshots.save(workdir, state_at(1), Kind.RESUME)
    other = state_at(1)._replace(params={**state_at(1).params, "new": jnp.ones(1)})
    with pytest.raises(ValueError, match="lacks params/new"):
        snapshots.restore(workdir, 1, other)
    wider = state_at(1)._replace(params={**state_at(1).params, "b": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"holds params/b as float32\[2\], this run needs float32\[3\]"):
        snapshots.restore(workdir, 1, wider)


def test_weights_alone_are_told_from_another_model(workdir):
    state = state_at(1)
    snapshots.save_weights(workdir, 1, state.params, state.model_state, {"averaged": []})
    assert_equal(snapshots.load(workdir)[1], jax.device_get(state.params))
    with pytest.raises(ValueError, match=r"step 1 in .* holds weights alone .* not trained further"):
        snapshots.restore(workdir, 1, state)


def test_only_the_leaves_that_are_wanted_are_read(workdir):
    state = state_at(1)
    path = snapshots.save(workdir, state, Kind.MEMBER) / "state"
    tree = snapshots._read_tree(path, lambda name: name.startswith("params/layer"))
    assert_equal(tree, {"params": {"layer": jax.device_get(state.params["layer"])}})
    assert snapshots._read_tree(path, lambda name: name == "nothing") == {}


def test_missing_snapshots_are_listed(workdir):
    with pytest.raises(FileNotFoundError, match="no snapshot latest"):
        snapshots.load(workdir)
    snapshots.save(workdir, state_at(4), Kind.RESUME)
    with pytest.raises(FileNotFoundError, match=r"at steps \[4\]"):
        snapshots.load(workdir, 9)


def test_failed_write_leaves_the_old_one(workdir, monkeypatch):
    snapshots.save(workdir, state_at(1), Kind.RESUME)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        snapshots.save(workdir, state_at(2), Kind.RESUME)
    monkeypatch.undo()
    assert snapshots.latest_good(workdir) == 1
    assert snapshots.steps(workdir) == [1]


def test_manifest_names_every_file(workdir):
    path = snapshots.save(workdir, state_at(1), Kind.RESUME, {"pending": "eval"})
    manifest = json.loads((path / "manifest.json").read_text())
    files = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == files
    assert manifest["pending"] == "eval"
    assert manifest["step"] == 1
