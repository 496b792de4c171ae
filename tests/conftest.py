"""The conditions under which everything is tested: eight devices, strict types, no warnings."""

import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags

_hook = install_import_hook(("cs231n_jax.ops", "cs231n_jax.optim"), "beartype.beartype")


@pytest.fixture
def x64():
    """Float64 for the length of one test."""
    with jax.enable_x64(True):
        yield


# The files that take longest, longest first: two processes that take one file at a time then end together.
LONGEST = (
    "tests/models/test_models.py",
    "tests/train/test_processes.py",
    "tests/models/test_overfit.py",
    "tests/train/test_devices.py",
    "tests/train/test_kill.py",
    "tests/experiments/test_studies.py",
    "tests/experiments/test_programs.py",
    "tests/interop/test_torchvision.py",
    "tests/test_launch.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, all others in their order."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def pytest_configure(config):
    """Keep compiled programs between runs of the tests, beside pytest's own cache."""
    jax.config.update("jax_compilation_cache_dir", str(config.rootpath / ".pytest_cache" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
