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
from experiments.benchmarks import beam, captioning, convolution, families, plain_flax_nets, scaling
from tests.rows import but_for

CHANNELS = {"lenet5": 1}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("net", but_for(["lenet5", "resnet20"], families.BATCHES))
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


def test_compilations_are_compared_turn_by_turn():
    """Medians of the seconds, the ratio of a turn's sums with its interval; what cannot be compiled has none."""
    flax = [(1.0, 3.0), (1.0, 1.0), (2.0, 8.0), (1.0, 3.0), (1.0, 3.0)]
    ours = [(1.0, 1.0), (2.0, 4.0), (0.5, 8.5), (0.5, 2.5), (1.0, 2.0)]
    left = {"flax": iter(flax), "ours": iter(ours)}
    programs = {name: convolution.Program(lambda: None, compile=left[name].__next__) for name in left}
    programs["torch"] = convolution.Program(lambda: None)
    rows = convolution._compile_by_turns(programs)
    assert rows["flax"] == {"trace s": 1, "compile s": 3, "compile ratio": 1, "compile low": 1, "compile high": 1}
    own = rows.pop("ours")
    assert (own["trace s"], own["compile s"], own["compile ratio"]) == (1, 2.5, 0.75)  # of 0.5, 3, 0.9, 0.75, 0.75
    assert 0.5 <= own["compile low"] <= 0.75 < own["compile high"] <= 3
    assert list(rows) == ["flax"]


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


@pytest.mark.slow
def test_the_search_over_a_batch_and_the_loop_find_the_same_and_the_ratio_is_one_over_how_many_times_faster():
    (row,) = beam.run(quick=True)  # it raises where they differ
    assert row["times faster"] == pytest.approx(1 / row["ratio"])
    assert row["low"] <= row["ratio"] <= row["high"]
    assert row["times faster"] < row["at most"]  # which has the products alone to do
    (line,) = performance.beam([{key: pages.show(value) for key, value in row.items()}])
    assert line[:2] == ("beam 5, quick, a sentence", "ms")
    assert float(line.ratio) == pytest.approx(row["ratio"], rel=1e-4)


@pytest.fixture
def torch():
    """Torch with one thread: two wait for each other where other processes have the cores."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield torch
    torch.set_num_threads(threads)


def test_the_captioner_in_torch_has_our_loss_and_our_gradients(x64, torch):
    from experiments.benchmarks import plain_torch_captioner

    task, batch = captioning.captioning(captioning.QUICK, "float64"), captioning.drawn(captioning.QUICK, "float64")
    params = jax.tree.map(lambda x: 2 * x, task.init(0, batch)[0])

    def loss(params):
        mean, _ = task.loss(params, {}, batch, key=jax.random.key(0), train=True)
        return mean.total / mean.count

    ours, gradients = jax.jit(jax.value_and_grad(loss))(params)
    rival = captioning.torch_model(captioning.QUICK, params)
    theirs = plain_torch_captioner.loss(rival, *captioning.of_torch(batch), captioning.SPREAD)
    theirs.backward()
    assert theirs.item() == pytest.approx(float(ours), rel=1e-12)
    wanted = plain_torch_captioner.state_dict(gradients)
    trained = {name: p for name, p in rival.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == sum(leaf.size for leaf in jax.tree.leaves(params))
    for name, parameter in trained.items():
        assert torch.any(parameter.grad), name
        torch.testing.assert_close(wanted[name], parameter.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_captioner_is_measured_beside_torch_where_there_is_torch(monkeypatch, torch):
    monkeypatch.setattr(captioning, "REST", 0.0)
    rows = captioning.run(quick=True)  # it raises where the searches find other captions
    assert [row["what"].partition(" ")[0] for row in rows] == ["train", "beam", "beam"]
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows)
    assert [row["times faster"] * row["ratio"] for row in rows] == pytest.approx([1, 1, 1])
    lines = performance.captioning([{key: pages.show(value) for key, value in row.items()} for row in rows])
    assert [line.what for line in lines] == [f"captioner, {row['what']}" for row in rows]
    monkeypatch.setattr(captioning, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="no rival without torch: install the extra `parity`"):
        captioning.run(quick=True)


@pytest.mark.parametrize("stop", [0, 3])
def test_the_search_in_torch_ends_whether_no_hypothesis_ends_or_all_do(stop, torch):
    from experiments.benchmarks import plain_torch_captioner

    model = plain_torch_captioner.AttentionCaptioner(12, 4, 4, 3, 4)
    with torch.no_grad():
        model.head.bias[0], model.head.bias[3] = -100.0, 100.0  # never among five hypotheses; the best of all
    words = plain_torch_captioner.beam_search(model, torch.rand(1, 6, 3), 6, beam=5, begin=1, stop=stop)
    assert words == {0: [3] * 6, 3: [3]}[stop]
