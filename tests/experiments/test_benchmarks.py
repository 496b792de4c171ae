"""The rivals of the benchmarks are the same networks, and the tables become pages."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from cs231n_jax import models
from experiments import pages, performance
from experiments.benchmarks import beam, convolution, families, plain_flax_nets, scaling

CHANNELS = {"lenet5": 1}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("net", families.BATCHES)
def test_the_rival_has_the_same_parameters(net):
    image = jax.ShapeDtypeStruct((2, 32, 32, CHANNELS.get(net, 3)), jnp.float32)
    with jax.numpy_dtype_promotion("standard"):  # flax's own average pooling needs it
        rival = jax.eval_shape(plain_flax_nets.NETS[net]().init, jax.random.key(0), image)["params"]
    ours = models.functional.shapes(models.create(net, **convolution.PLAIN.get(net, {})), image)[0]
    shapes = [sorted(leaf.shape for leaf in jax.tree.leaves(tree)) for tree in (rival, ours)]
    assert shapes[0] == shapes[1]
    assert sum(map(math.prod, shapes[0])) == models.parameter_count(net)


@pytest.mark.parity
@pytest.mark.parametrize("net", ["resnet20", "vgg11_bn_cifar", "wrn16_4", "densenet40_12", "resnet50"])
def test_torchs_rival_has_as_many_parameters(net):
    pytest.importorskip("torch")
    from experiments.benchmarks import plain_torch

    assert sum(p.numel() for p in plain_torch.NETS[net]().parameters()) == models.parameter_count(net)


def test_a_page_says_what_was_measured_where_and_how(tmp_path):
    rows = [{"program": "ours", "ms": 1.5}, {"program": "theirs", "ms": 2.0, "runs": 3}]
    pages.write(tmp_path / "pages" / "speed.md", "Speed", "How.", pages.where(), "python -m speed", rows, "An answer.")
    text = (tmp_path / "pages" / "speed.md").read_text()
    assert text.startswith("# Speed\n\nHow.\n\nAn answer.\n\n")
    assert f"jax {jax.__version__}" in text
    assert "cores of" in text
    assert "Printed by `python -m speed`:" in text
    assert text.endswith("| program | ms | runs |\n| --- | --- | --- |\n| ours | 1.5 |  |\n| theirs | 2 | 3 |\n")


def test_bytes_of_collectives_are_read_from_a_program():
    program = """
      %a = f32[64,3]{1,0} all-reduce(f32[64,3]{1,0} %x), replica_groups={{0,1}}
      %b = (f32[10]{0}, bf16[8,8]{1,0}) all-reduce(f32[10]{0} %y, bf16[8,8]{1,0} %z), to_apply=%sum
      %c = f32[] all-gather-start(f32[] %w)
      %d = f32[5]{0} add(f32[5]{0} %all-reduce, f32[5]{0} %v)
    """
    assert scaling.collectives(program) == {"all-reduce": (2, 64 * 3 * 4 + 10 * 4 + 64 * 2), "all-gather": (1, 4)}
    assert scaling.sent({"all-reduce": (1, 800), "all-gather": (1, 80)}, 8) == pytest.approx(2 * 7 / 8 * 800 + 70)


@pytest.mark.slow
def test_data_parallel_gradients_are_sent_once_and_fsdp_holds_an_eighth(tmp_path):
    """The bytes of a gradient's all-reduce are those of the parameters, and of nothing else of size."""
    rows = {row["mesh data × fsdp"]: row for row in scaling.run(quick=True)}
    parameters = 4 * models.parameter_count("resnet20") / 1e6
    assert rows["8 × 1"]["MB of results"] == pytest.approx(parameters, rel=0.02)
    assert rows["1 × 8"]["state MB a device"] < 0.2 * rows["8 × 1"]["state MB a device"]


WITHOUT = """import runpy, sys
for name in ("grain", "tensorflow_datasets", "ml_collections"):
    sys.modules[name] = None
sys.argv = ["benchmark", *sys.argv[1:]]
runpy.run_module("experiments.benchmark", run_name="__main__")
"""


@pytest.mark.slow
def test_the_gpu_benchmark_runs_where_the_data_libraries_are_not_installed(tmp_path):
    command = [sys.executable, "-c", WITHOUT, "gpu", "--quick", f"--json={tmp_path / 'rows.json'}"]
    quick = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quick, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["gpu"]
    ours = {row["group"] for row in rows if row["program"].startswith(("cs231n_jax", "lax.scan"))}
    assert len(ours) == 4
    assert all(row["ms a step"] > 0 for row in rows)


def test_the_search_over_a_batch_and_the_loop_find_the_same_and_the_ratio_is_one_over_how_many_times_faster():
    (row,) = beam.run(quick=True)  # it raises where they differ
    assert row["times faster"] == pytest.approx(1 / row["ratio"])
    assert row["low"] <= row["ratio"] <= row["high"]
    (line,) = performance.beam([{key: pages.show(value) for key, value in row.items()}])
    assert line[:2] == ("beam 5, quick, a sentence", "ms")
    assert float(line.ratio) == pytest.approx(row["ratio"], rel=1e-4)
