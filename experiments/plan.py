"""What a config would do, without doing it: python -m experiments.plan --config=experiments/configs/NAME.py."""

from experiments import program  # isort: skip  (first: it sets up the allocator)

from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags

from cs231n_jax import inspect
from cs231n_jax.report import plots
from cs231n_jax.report.console import ConsoleReporter
from cs231n_jax.train import plan
from cs231n_jax.train.assemble import Assembly, assemble

_CONFIG = program.define_config()
_WORKDIR = flags.DEFINE_string("workdir", "", "Where to draw the learning rate; default: runs/plan_<config name>.")


def main() -> None:
    """Print sizes and durations, draw the learning rate."""
    assembly = assemble(program.prepare(_CONFIG.value))
    with ConsoleReporter() as reporter:
        reporter.table(
            program.config_name(),
            ("", "plan"),
            [*plan.rows(plan.plan(assembly)), *_work(assembly), *_padding(assembly)],
        )
    workdir = Path(_WORKDIR.value or Path("runs") / f"plan_{program.config_name()}")
    figure = plots.learning_rate(workdir / "learning_rate.png", assembly.schedule, assembly.total_steps)
    print(f"learning rate: {figure}")


def _work(assembly: Assembly) -> list[tuple[str, str]]:
    """What one image costs, for tasks on images."""
    model, images = getattr(assembly.task, "model", None), assembly.batch_shapes.get("image")
    if model is None or images is None:
        return []
    layers = inspect.layers(model, jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32))
    counts = {name: sum(getattr(layer, name) for layer in layers) for name in ("multiply_adds", "activations")}
    return [(f"{name.replace('_', '-')} an image", f"{count:,}") for name, count in counts.items()]


def _padding(assembly: Assembly) -> list[tuple[str, str]]:
    """What the declared lengths save, for tasks on sequences."""
    found = plan.padding(assembly)
    return [("padding", f"{found[0]:.1%} of the places; {found[1]:.1%} if all were one length")] if found else []


if __name__ == "__main__":
    program.run(main)
