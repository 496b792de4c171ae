"""What stays in each kind of transfer stays to the last bit, and what is given is told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import models
from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.interop import files
from cs231n_jax.models import ModelConfig, functional
from cs231n_jax.models.base import stage_of
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.optim.masking import assign, freeze
from cs231n_jax.train import initial, transfer
from cs231n_jax.train.assemble import assemble, frozen_stages
from cs231n_jax.train.initial import InitialConfig
from cs231n_jax.train.sharding import MeshConfig
from cs231n_jax.train.step import make_train_step
from cs231n_jax.train.transfer import Transfer
from tests.descriptors import MODELS
from tests.rows import but_for, one_in
from tests.train.test_groups import flat, train

TINY = {"width": 2, "depth_drop_rate": 0.5}  # with statistics and with noise
SHAPE = (8, 8, 3)
STAGES = ("stem", "stage1", "stage2", "stage3")
FROZEN = {
    Transfer.PROBE_TOP: STAGES,
    Transfer.PROBE_STAGES: STAGES,
    Transfer.FINETUNE_FEW: STAGES[:3],
    Transfer.FINETUNE_MANY: (),
    Transfer.SCRATCH: (),
}


@pytest.fixture
def weights(tmp_path):
    """Of seven classes and coloured images, with statistics that are not those of a beginning."""
    drawn = functional.init(models.create("resnet8", num_classes=7, **TINY), 7, jnp.zeros((1, *SHAPE)))
    params, state = jax.tree.map(lambda x: x + 0.01, drawn)
    files.write(path := tmp_path / "weights.npz", files.to_flat(params, jax.tree.map(lambda x: x + 0.5, state)))
    return path


def base() -> Config:
    return Config(
        model=ModelConfig(name="resnet8", options=TINY),
        data=DataConfig(name="digits", channels=3, batch_size=8),
        optimizer=OptimizerConfig(name="momentum", learning_rate=0.01, weight_decay=0.01),
        schedule=ScheduleConfig(name="constant"),
        train=TrainConfig(steps="200", log_every="0", eval_every="0", save_every="0"),
        mesh=MeshConfig(data=1),
    )


def config(kind: Transfer, weights) -> Config:
    rules = transfer.rules(kind, models.create("resnet8", **TINY))
    begins = transfer.RECIPES[kind].begins
    return transfer.applied(base(), InitialConfig(weights=str(weights)), rules, SHAPE, begins)


def part(path: str) -> str:
    return stage_of(path.partition("/")[2])


@pytest.mark.parametrize(
    "kind", but_for([Transfer.FINETUNE_FEW], [k for k in Transfer if k is not Transfer.PROBE_STAGES])
)
def test_what_is_frozen_stays_bit_by_bit_for_200_steps(kind, weights, tmp_path):
    assembly = assemble(config(kind, weights))
    before = flat({"params": (state := assembly.new_state()).params, **state.model_state})
    given = files.read(weights)
    taken = {path for path in given if part(path) in STAGES and np.array_equal(before[path], given[path])}
    assert taken == ({path for path in given if part(path) in STAGES} if kind is not Transfer.SCRATCH else set())
    state, _ = train(assembly, tmp_path / "run")
    after = flat({"params": state.params, **state.model_state})
    assert int(state.step) == 200
    assert any(path.startswith("batch_stats/stage1") for path in after)
    stayed = {path for path in after if after[path].tobytes() == before[path].tobytes()}
    assert stayed == {path for path in after if part(path) in FROZEN[kind]}
    trained = sum(after[path].nbytes for path in after if path.startswith("params/") and path not in stayed)
    assert sum(x.nbytes for x in jax.tree.leaves(state.opt_state) if np.ndim(x)) == trained  # momentum: one slot


def test_a_probe_of_all_stages_freezes_what_one_of_the_top_does(weights):
    assert config(Transfer.PROBE_STAGES, weights) == config(Transfer.PROBE_TOP, weights)


def test_frozen_stages_make_no_noise(weights):
    found = config(Transfer.FINETUNE_FEW, weights)
    model = models.create(found.model.name, **found.model.options)
    params, state = functional.init(model, 0, jnp.zeros((1, *SHAPE)))
    run = functools.partial(functional.apply, model, params, state, jnp.ones((4, *SHAPE)), method="features")
    noisy = jax.jit(lambda key: run(train=True, key=key)[0])
    still, several = jax.jit(lambda: run()[0])(), [noisy(jax.random.key(i)) for i in range(8)]
    for stage in FROZEN[Transfer.FINETUNE_FEW]:
        assert all(np.array_equal(each[stage], still[stage]) for each in several), stage
    assert any(not np.array_equal(each["stage3"], several[0]["stage3"]) for each in several)


@pytest.mark.slow
def test_gradients_end_above_what_is_frozen(weights):
    def multiplications(kind):
        assembly = assemble(config(kind, weights))
        frozen = frozen_stages(assembly.config)
        step = jax.jit(make_train_step(assembly.task, assembly.optimizer, 0, frozen=frozen))
        return step.lower(assembly.state_shapes, assembly.batch_shapes).cost_analysis()["flops"]

    few, many = multiplications(Transfer.FINETUNE_FEW), multiplications(Transfer.FINETUNE_MANY)
    assert multiplications(Transfer.PROBE_TOP) < few < 0.7 * many


def test_rates_are_a_tenth_where_weights_are_given():
    model = models.create("resnet8", **TINY)
    of = functools.partial(transfer.rules, model=model)
    patterns = [f"^{name}[_/]" for name in (*STAGES, "head")]
    assert list(of(Transfer.FINETUNE_FEW)) == patterns
    assert list(of(Transfer.FINETUNE_FEW).values()) == [0, 0, 0, 0.1, 1]
    assert list(of(Transfer.FINETUNE_FEW, few=3, factor=0.2).values()) == [0, 0.2, 0.2, 0.2, 1]
    assert list(of(Transfer.FINETUNE_MANY).values()) == [0.1] * 4 + [1]
    assert list(of(Transfer.SCRATCH).values()) == [1] * 5
    with pytest.raises(ValueError, match="few=0 stages would learn in finetune_few"):
        of(Transfer.FINETUNE_FEW, few=0)
    with pytest.raises(ValueError, match=r"few=5 stages .* has 4 \(stem, stage1, stage2, stage3\): give 1 to 4"):
        of(Transfer.FINETUNE_FEW, few=5)
    assert list(of(Transfer.FINETUNE_FEW, few=4).values()) == [0.1] * 4 + [1]


@pytest.mark.parametrize("row", one_in(3, [(row,) for row in MODELS if row.reads == ("image",)]), ids=str)
def test_every_parameter_of_every_network_has_one_rule(row):
    model = row.model()
    params, _ = functional.shapes(model, jax.ShapeDtypeStruct(row.input_shape, jnp.float32))
    rules = transfer.rules(Transfer.FINETUNE_FEW, model)
    groups = assign({pattern: (pattern, freeze()) for pattern in rules}, params)
    assert np.sum(list(groups.values()), axis=0).tolist() == [1] * len(jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"^stem": 0, "^stage": 0.1}, r"parameter 'head/bias' is matched by none of \^stem, \^stage"),
        ({"^stem": 0, "^st": 0.1, "^head": 1}, r"'stem_conv/kernel' is matched by \^stem and \^st;"),
        ({"conv": 0, "^(?!.*conv)": 1}, r"stem_conv/kernel is frozen .* and stem_norm/bias is not: .* all of stem"),
    ],
)
def test_rules_that_do_not_fit_are_refused_with_the_parameter(rules, message):
    with pytest.raises(ValueError, match=message):
        transfer.applied(base(), InitialConfig(), rules, SHAPE)


def test_ones_own_rules_give_rates_by_stage(weights):
    rules = {"^stem": 0, "^stage[12]": 0.01, "^stage3": 0.1, "^head/kernel": 1, "^head/bias": 2}
    found = transfer.applied(base(), InitialConfig(weights=str(weights)), rules, SHAPE)
    assert frozen_stages(found) == ("stem",)
    assert found.optimizer.rate_paths == ("^stage[12]", "^stage3", "^head/bias")
    assert found.optimizer.rate_factors == (0.01, 0.1, 2)
    assert found.initial.fresh == ("head",)


def test_the_old_head_is_told(weights):
    found = config(Transfer.FINETUNE_FEW, weights)
    lines = initial.told(found.initial, assemble(found).state_shapes.params)
    assert lines == [
        "new: head/bias [10], drawn; in the weights it is [7]",
        "new: head/kernel [8, 10], drawn; in the weights it is [8, 7]",
    ]
    whole = InitialConfig(weights=str(weights), into="eyes")
    some = {"eyes": {"stem_conv": {"kernel": jnp.zeros((3, 3, 3, 2))}}}
    (line,) = initial.told(whole, some)
    assert line.startswith("left out of the weights: head/bias, head/kernel, stage1_block1/")
    assert initial.told(InitialConfig(), some) == []


def test_a_head_of_other_classes_and_an_unknown_stage_are_refused(weights):
    params, state = functional.init(models.create("resnet8", **TINY), 0, jnp.zeros((1, *SHAPE)))
    with pytest.raises(ValueError, match=r"head/bias has the shape \[7\] in place of \[10\]; a stage .* initial.fresh"):
        initial.replaced(InitialConfig(weights=str(weights)), params, state)
    with pytest.raises(ValueError, match=r"initial.fresh=\('haed',\): there is no part 'haed'; there are head, stage1"):
        initial.replaced(InitialConfig(weights=str(weights), fresh=("haed",)), params, state)
