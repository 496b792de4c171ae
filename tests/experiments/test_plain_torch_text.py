"""The rival in torch is the same language model: its losses are ours, update by update."""

import jax
import pytest

from cs231n_jax.config import Config, TrainConfig
from cs231n_jax.data import DataConfig
from cs231n_jax.models import ModelConfig
from cs231n_jax.optim import OptimizerConfig, ScheduleConfig
from cs231n_jax.tasks.base import TaskConfig
from cs231n_jax.train import evaluate
from cs231n_jax.train.assemble import assemble
from cs231n_jax.train.step import make_train_step

UPDATES = 6


@pytest.mark.slow
@pytest.mark.parity
def test_the_rival_in_torch_makes_the_same_updates():
    """Windows begin anew among them; the rate rises, and gradients are clipped."""
    pytest.importorskip("torch")
    from experiments.benchmarks import plain_torch_text

    assembly = assemble(
        Config(
            task=TaskConfig(name="language_modelling"),
            model=ModelConfig(name="char_lm", options={"hidden": 12}),
            data=DataConfig(name="python_docs", batch_size=16, window=256),
            optimizer=OptimizerConfig(name="adam", learning_rate=0.03, clip_norm=0.2),
            schedule=ScheduleConfig(name="cosine", warmup="2"),
            train=TrainConfig(steps=str(UPDATES)),
        )
    )
    step = jax.jit(make_train_step(assembly.task, assembly.optimizer, assembly.config.seed, mesh=assembly.mesh))
    state, rival = assembly.new_state(), plain_torch_text.Training(assembly)
    assert any(assembly.pipeline.batch(i)["start"].any() for i in range(1, UPDATES))
    total, count = 0.0, 0.0
    for i in range(UPDATES):
        state = step(state, assembly.pipeline.batch(i))
        so_far = jax.device_get(state.metrics["loss"])  # of all updates until now
        assert rival.update(i) == pytest.approx((so_far.total - total) / (so_far.count - count), rel=1e-4)
        total, count = so_far.total, so_far.count
    eval_step = jax.jit(evaluate.make_eval_step(assembly.task, assembly.mesh))
    found = evaluate.evaluate(eval_step, state.params, state.model_state, evaluate.device_batches(assembly))
    assert rival.evaluate() == pytest.approx(assembly.task.summarize(found)["loss"], rel=1e-4)
