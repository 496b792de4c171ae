"""The conditions under which everything is tested: eight devices, strict types, no warnings."""

import gc
import os

import jax
import jaxtyping
import pytest
from absl import flags
from hypothesis import settings
from jax._src import compiler

from experiments import allocator

allocator.collect_rarely()  # as the programs do: tracing makes many objects, and keeps them
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("shared", deadline=None)  # a machine with other work on it is slow now and then
settings.load_profile("shared")
flags.FLAGS.mark_as_parsed()  # grain reads absl flags

_hook = jaxtyping.install_import_hook(("cs231n_jax.ops", "cs231n_jax.optim"), "beartype.beartype")


@pytest.fixture(autouse=True, scope="module")
def collected():
    """What a file of tests leaves open is named there, not in whatever test the collector happens to run.

    What is there still, such as the programs that jax keeps, is not looked at again after the next file: that took a
    second and a half of each.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """Float64 for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised(emitters):
    """Programs as users have them, for the length of one test."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def emitters(monkeypatch):
    """XLA's emitters of fusions, for the length of one test.

    Without them (see QUICK) what several outputs of a fusion need is computed for each of them again: a search within a
    search then compiles for hours, and what a comparison expects to be equal is rounded twice.
    """
    options = compiler.get_compile_options

    def with_emitters(*arguments, env_options_overrides=None, **others):
        overrides = {**(env_options_overrides or {}), "xla_cpu_use_fusion_emitters": True}
        return options(*arguments, env_options_overrides=overrides, **others)

    if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
        monkeypatch.setattr(compiler, "get_compile_options", with_emitters)


@pytest.fixture
def unchecked():
    """Annotations are not looked at for the length of one test, as they are not where a user calls."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# The files that take longest, longest first: two processes that take one file at a time then end together.
LONGEST = (
    "tests/train/test_every_config.py",
    "tests/experiments/test_studies.py",
    "tests/train/test_processes.py",
    "tests/models/test_models.py",
    "tests/train/test_kill.py",
    "tests/optim/test_speed.py",
    "tests/experiments/test_programs.py",
    "tests/interop/test_torchvision.py",
    "tests/ops/test_fractional_pool.py",
    "tests/train/test_ensemble.py",
    "tests/models/test_overfit.py",
    "tests/models/test_captioner.py",
    "tests/train/test_encoded_captions.py",
    "tests/ops/test_conv.py",
    "tests/ops/test_recurrent.py",
    "tests/models/test_activation_option.py",
    "tests/train/test_keys.py",
    "tests/train/test_captioning.py",
    "tests/train/test_devices.py",
    "tests/ops/test_gaussian.py",
    "tests/ops/test_dropconnect.py",
    "tests/optim/test_composition.py",
    "tests/test_launch.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, all others in their order; and all is imported now."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))
    gc.freeze()  # what is imported stays: the collector need not look at it after every file


# What XLA:CPU spends most of its compile time on is how it fuses, splits and inlines kernels, not what they compute:
# without, a gradient compiles in a quarter of the time. Flags of jaxlib 0.10, which later ones do not know.
QUICK = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_llvm_force_inline_before_split=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def pytest_configure(config):
    """Compile quickly, here and in the processes that tests start, for most programs run once; keep what is compiled.

    It is kept beside pytest's own cache, or not at all where that is left out (-p no:cacheprovider): in a checkout that
    is used once, writing takes longer than it saves.
    """
    if jax.__version_info__ < (0, 11) and "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = " ".join(QUICK)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    jax.config.update("jax_disable_most_optimizations", True)
    if config.pluginmanager.has_plugin("cacheprovider"):
        jax.config.update("jax_compilation_cache_dir", str(config.rootpath / ".pytest_cache" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
