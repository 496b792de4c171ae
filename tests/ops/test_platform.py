import jax
import jax.numpy as jnp
import numpy as np

from cs231n_jax.ops.platform import by_platform


def by_two(x):
    return by_platform(x, cpu=lambda x: 2 * x, default=lambda x: x + x)


def test_a_host_without_accelerator_traces_its_own_form_alone():
    assert str(jax.make_jaxpr(by_two)(jnp.ones(3))).count(" add ") == 0


def test_a_host_with_an_accelerator_lowers_the_form_of_the_device(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    traced = jax.jit(lambda x: by_two(x)).trace(jnp.ones(3))
    adds = {p: traced.lower(lowering_platforms=(p,)).as_text().count("stablehlo.add") for p in ("cpu", "cuda")}
    assert adds == {"cpu": 0, "cuda": 1}
    np.testing.assert_array_equal(jax.jit(lambda x: by_two(x))(jnp.ones(3)), 2 * np.ones(3))
