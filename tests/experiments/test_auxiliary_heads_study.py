"""What auxiliary heads add to the gradient of a net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.models import functional
from experiments.studies import auxiliary_heads, convolutional_runs

PARTS = ("stem", *auxiliary_heads.FEW)


@pytest.mark.slow
def test_the_training_loss_adds_the_heads_with_their_weights():
    """And so the heads change the gradient below them, and none above."""
    random = np.random.default_rng(0)
    images = jnp.asarray(random.standard_normal((2, 8, 8, 3)), jnp.float32)
    labels = jnp.asarray([3, 4], jnp.int32)
    found = {}
    for name, heads in auxiliary_heads.HEADS.items():
        model = auxiliary_heads.net({**auxiliary_heads.FORMS["as published"], "modules": auxiliary_heads.FEW}, heads)

        def loss(params, state, model=model):
            by_head, _ = convolutional_runs.losses(model, (params, state), images, labels)
            return convolutional_runs.weighted(model, by_head), by_head

        gradient = jax.jit(jax.grad(loss, has_aux=True))
        grads, by_head = gradient(*functional.init(model, 0, images))
        found[name] = np.asarray(auxiliary_heads.by_part(PARTS, grads))
        assert set(by_head) == ({"logits", "aux1", "aux2"} if heads else {"logits"})
    expected = by_head["logits"] + 0.3 * (by_head["aux1"] + by_head["aux2"])
    assert float(convolutional_runs.weighted(model, by_head)) == pytest.approx(float(expected))
    below = len(auxiliary_heads.below(PARTS))
    assert (found["without"] > 0).all()
    np.testing.assert_allclose(found["without"][below:], found["with"][below:], rtol=1e-4)  # sums in another order
    assert not np.isclose(found["without"][:below], found["with"][:below], rtol=1e-4).any()
