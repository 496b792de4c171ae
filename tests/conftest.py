"""The conditions under which everything is tested: eight devices, strict types, no warnings."""

import gc
import os

import jax
import jaxtyping
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags

_hook = jaxtyping.install_import_hook(("cs231n_jax.ops", "cs231n_jax.optim"), "beartype.beartype")


@pytest.fixture(autouse=True, scope="module")
def collected():
    """What a file of tests leaves open is named there, not in whatever test the collector happens to run."""
    yield
    gc.collect()


@pytest.fixture
def x64():
    """Float64 for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised():
    """Programs as users have them, for the length of one test."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def unchecked():
    """Annotations are not looked at for the length of one test, as they are not where a user calls."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# The files that take longest, longest first: two processes that take one file at a time then end together.
LONGEST = (
    "tests/train/test_every_config.py",
    "tests/models/test_models.py",
    "tests/train/test_processes.py",
    "tests/experiments/test_studies.py",
    "tests/train/test_kill.py",
    "tests/experiments/test_programs.py",
    "tests/models/test_overfit.py",
    "tests/models/test_activation_option.py",
    "tests/ops/test_recurrent.py",
    "tests/optim/test_speed.py",
    "tests/interop/test_torchvision.py",
    "tests/ops/test_fractional_pool.py",
    "tests/optim/test_composition.py",
    "tests/train/test_devices.py",
    "tests/test_launch.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, all others in their order."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


# Without splitting and inlining kernels XLA:CPU compiles a gradient in a fifth less time. Its emitters of fusions stay:
# without them one program took over half an hour. Flags of jaxlib 0.10, which later ones do not know.
QUICK = (
    "--xla_llvm_force_inline_before_split=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def pytest_configure(config):
    """Compile quickly, here and in the processes that tests start, for most programs run once; keep what is compiled.

    It is kept beside pytest's own cache.
    """
    if jax.__version_info__ < (0, 11) and "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = " ".join(QUICK)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(config.rootpath / ".pytest_cache" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
