"""The operators beside torch's, where torch is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax.ops import activations, losses, norm, pool
from cs231n_jax.ops.conv import conv
from tests.rows import one_in

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
functional = torch.nn.functional


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def leaf(array, *axes):
    return torch.tensor(np.transpose(array, axes) if axes else array, requires_grad=True)


def to_torch(images):
    return leaf(images, 0, 3, 1, 2)


def from_torch(images):
    return images.detach().numpy().transpose(0, 2, 3, 1)


def close(actual, desired, tolerance=2e-6):
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * max(1.0, np.abs(desired).max()))


@pytest.mark.parametrize(
    ("size", "window", "options"),
    [
        (9, 3, {"stride": 2, "padding": 1}),
        (8, 5, {"padding": 2}),
        (16, 7, {"stride": 2, "padding": 3}),
        (2, 3, {"padding": 1}),
        (9, 3, {"dilation": 2, "groups": 2}),
    ],
)
def test_convolution(size, window, options):
    x, kernel = draw(2, size, size, 8), draw(window, window, 8 // options.get("groups", 1), 6)
    y, pull = jax.vjp(lambda x, kernel: conv(x, kernel, **options), jnp.asarray(x), jnp.asarray(kernel))
    their_x, their_kernel = to_torch(x), leaf(kernel, 3, 2, 0, 1)
    their_y = functional.conv2d(their_x, their_kernel, **options)
    close(y, from_torch(their_y))
    dy = draw(*y.shape)
    their_y.backward(to_torch(dy).detach())
    dx, dkernel = pull(jnp.asarray(dy))
    close(dx, from_torch(their_x.grad))
    close(dkernel, their_kernel.grad.numpy().transpose(2, 3, 1, 0))


def test_batch_norm():
    """The same but for the stored variance: torch keeps the unbiased one."""
    x, scale, bias = draw(4, 5, 5, 6), draw(6), draw(6)
    dy = np.cos(9 * x)
    inputs = [jnp.asarray(a) for a in (x, scale, bias)]
    (y, mean, var), pull = jax.vjp(lambda *a: norm.batch_norm(*a, eps=1e-5), *inputs)
    theirs = [to_torch(x), leaf(scale), leaf(bias)]
    running_mean, running_var = torch.zeros(6), torch.zeros(6)
    their_y = functional.batch_norm(theirs[0], running_mean, running_var, *theirs[1:], training=True, momentum=1.0)
    close(y, from_torch(their_y))
    close(mean, running_mean.numpy())
    close(var * 100 / 99, running_var.numpy())
    their_y.backward(to_torch(dy).detach())
    gradients = pull((jnp.asarray(dy), jnp.zeros(6), jnp.zeros(6)))
    close(gradients[0], from_torch(theirs[0].grad))
    close(gradients[1], theirs[1].grad.numpy())
    close(gradients[2], theirs[2].grad.numpy())


WINDOWS = [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 3, 1)]
POOLS = [(kind, up, *window) for window in WINDOWS for up in (False, True) for kind in ("max", "avg")]


@pytest.mark.parametrize(("kind", "ceil_mode", "window", "stride", "padding"), one_in(3, POOLS))
def test_pooling(kind, ceil_mode, window, stride, padding):
    x = np.round(draw(2, 10, 9, 4))  # with many ties
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    y, pull = jax.vjp(jax.jit(lambda x: getattr(pool, f"{kind}_pool")(x, window, **options)), jnp.asarray(x))
    their_x = to_torch(x)
    their_y = getattr(functional, f"{kind}_pool2d")(their_x, window, **options)
    close(y, from_torch(their_y))
    dy = draw(*y.shape)
    their_y.backward(to_torch(dy).detach())
    close(pull(jnp.asarray(dy))[0], from_torch(their_x.grad))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy(label_smoothing):
    z, labels = 5 * draw(7, 10), np.arange(7)
    ours = losses.softmax_cross_entropy(jnp.asarray(z), jnp.asarray(labels), label_smoothing=label_smoothing)
    theirs = functional.cross_entropy(
        torch.tensor(z), torch.tensor(labels), reduction="none", label_smoothing=label_smoothing
    )
    close(ours, theirs.numpy())


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu", "elu"])
def test_activations(name):
    x = np.array([-1e4, -30, -2, -0.0, 0.0, 1, 30, 1e4], np.float32)
    y, pull = jax.vjp(activations.get(name), jnp.asarray(x))
    their_x = leaf(x)
    their_y = getattr(functional, name)(their_x)
    close(y, their_y.detach().numpy())
    their_y.sum().backward()
    close(pull(jnp.ones_like(y))[0], their_x.grad.numpy())
