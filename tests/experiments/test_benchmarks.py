"""The rivals of the benchmarks are the same networks, and the tables become pages."""

import math

import jax
import jax.numpy as jnp
import pytest

from cs231n_jax import models
from experiments import benchmark
from experiments.benchmarks import convolution, families, plain_flax_nets

CHANNELS = {"lenet5": 1}


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
@pytest.mark.parametrize("net", ["resnet20", "vgg11_bn_cifar", "wrn16_4", "densenet40_12"])
def test_torchs_rival_has_as_many_parameters(net):
    pytest.importorskip("torch")
    from experiments.benchmarks import plain_torch

    assert sum(p.numel() for p in plain_torch.NETS[net]().parameters()) == models.parameter_count(net)


def test_a_page_says_what_was_measured_where_and_how(tmp_path):
    table = [["program", "ms"], ["ours", "1.5"]]
    benchmark.write_page(tmp_path / "pages" / "convolution.md", convolution, 0.25, table)
    text = (tmp_path / "pages" / "convolution.md").read_text()
    assert text.startswith(f"# {convolution.TITLE}\n")
    assert f"jax {jax.__version__}" in text
    assert "cores of" in text
    assert "load before the first round 0.2" in text
    assert text.endswith("| program | ms |\n| --- | --- |\n| ours | 1.5 |\n")
