"""One problem, and the rows of the table that says which framework does what; the code in a row is what is run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEPS = 50
SHAPES = {"b": (3,), "w": (2, 3)}  # in the order in which the flat vector of the problem holds them
CURVATURE = np.geomspace(0.1, 10.0, 9)
PULL = np.array([0.3, -1.1, 0.7, 2.0, -0.4, 0.9, -1.6, 0.2, 1.3])
START = np.array([1.5, -2.0, 0.5, -0.7, 1.1, -1.8, 0.9, 2.2, -1.3])


def gradient(x):
    """Of Σ ½·curvature·x² + ¼·x⁴/5 − pull·x, for a flat vector of any framework."""
    return CURVATURE * x + 0.2 * x * x * x - PULL


def rate(step: int) -> float:
    """A learning rate that falls by half every ten updates; step from 0."""
    return 0.04 * 0.5 ** (step // 10)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule in three frameworks and in the reference; an empty string: it has none."""

    name: str
    ours: str  # in the namespace of cs231n_jax.optim, with lr the schedule
    reference: str  # in the namespace of tests.references.optimizers
    torch: str = ""  # in that of torch.optim, with p the parameters [b, w] and lr a number
    torch_before: str = ""  # in that of torch.nn.utils, called before every update
    torch_equal: bool = True
    optax: str = ""  # in that of optax
    optax_equal: bool = True


ROWS = (
    Row(name="SGD", ours="sgd(lr)", reference="sgd()", torch="SGD(p, lr)", optax="sgd(lr)"),
    Row(
        name="Momentum",
        ours="momentum(lr, 0.9)",
        reference="momentum(0.9)",
        torch="SGD(p, lr, momentum=0.9)",
        optax="sgd(lr, 0.9)",
    ),
    Row(
        name="Momentum, rate inside (Sutskever, course notes)",
        ours="momentum(lr, 0.9, rate_inside=True)",
        reference="sutskever(0.9)",
        torch="SGD(p, lr, momentum=0.9)",
        torch_equal=False,
        optax="chain(scale_by_learning_rate(lr), trace(0.9))",
    ),
    Row(
        name="Nesterov",
        ours="nesterov(lr, 0.9)",
        reference="nesterov(0.9)",
        torch="SGD(p, lr, momentum=0.9, nesterov=True)",
        optax="sgd(lr, 0.9, nesterov=True)",
    ),
    Row(
        name="Nesterov, rate inside (lecture)",
        ours="nesterov(lr, 0.9, rate_inside=True)",
        reference="lecture_nesterov(0.9)",
        torch="SGD(p, lr, momentum=0.9, nesterov=True)",
        torch_equal=False,
        optax="chain(scale_by_learning_rate(lr), trace(0.9, nesterov=True))",
    ),
    Row(
        name="AdaGrad",
        ours="adagrad(lr)",
        reference="adagrad(1e-10)",
        torch="Adagrad(p, lr)",
        optax="adagrad(lr)",
        optax_equal=False,
    ),
    Row(
        name="AdaGrad, optax's form",
        ours="adagrad(lr, 1e-7, eps_inside_sqrt=True, initial_accumulator=0.1)",
        reference="adagrad(1e-7, inside=True, start=0.1)",
        torch="Adagrad(p, lr)",
        torch_equal=False,
        optax="adagrad(lr)",
    ),
    Row(
        name="AdaGrad, torch's lr_decay",
        ours="adagrad(lambda step: lr(step) * schedules.inverse_time(1.0, 0.05)(step))",
        reference="adagrad(1e-10, lr_decay=0.05)",
        torch="Adagrad(p, lr, lr_decay=0.05)",
    ),
    Row(
        name="RMSProp",
        ours="rmsprop(lr, 0.9, 1e-3)",
        reference="rmsprop(0.9, 1e-3)",
        torch="RMSprop(p, lr, alpha=0.9, eps=1e-3)",
        optax="rmsprop(lr, 0.9, 1e-3)",
        optax_equal=False,
    ),
    Row(
        name="RMSProp, optax's form",
        ours="rmsprop(lr, 0.9, 1e-3, eps_inside_sqrt=True)",
        reference="rmsprop(0.9, 1e-3, inside=True)",
        torch="RMSprop(p, lr, alpha=0.9, eps=1e-3)",
        torch_equal=False,
        optax="rmsprop(lr, 0.9, 1e-3)",
    ),
    Row(
        name="RMSProp, TensorFlow 1's start and eps",
        ours="rmsprop(lr, 0.9, 1e-10, eps_inside_sqrt=True, initial_accumulator=1.0)",
        reference="rmsprop(0.9, 1e-10, inside=True, start=1.0)",
        torch="RMSprop(p, lr, alpha=0.9, eps=1e-10)",
        torch_equal=False,
        optax="rmsprop(lr, 0.9, 1e-10, initial_scale=1.0)",
    ),
    Row(
        name="RMSProp, centered",
        ours="rmsprop(lr, 0.9, 1e-3, centered=True)",
        reference="rmsprop(0.9, 1e-3, centered=True)",
        torch="RMSprop(p, lr, alpha=0.9, eps=1e-3, centered=True)",
        optax="rmsprop(lr, 0.9, 1e-3, centered=True, eps_in_sqrt=False)",
    ),
    Row(
        name="RMSProp with momentum",
        ours="rmsprop(lr, 0.9, 1e-3, momentum=0.5)",
        reference="rmsprop(0.9, 1e-3, mu=0.5)",
        torch="RMSprop(p, lr, alpha=0.9, eps=1e-3, momentum=0.5)",
        optax="rmsprop(lr, 0.9, 1e-3, eps_in_sqrt=False, momentum=0.5)",
        optax_equal=False,
    ),
    Row(
        name="RMSProp with momentum, rate inside",
        ours="rmsprop(lr, 0.9, 1e-3, momentum=0.5, rate_inside=True)",
        reference="rmsprop(0.9, 1e-3, mu=0.5, rate_inside=True)",
        torch="RMSprop(p, lr, alpha=0.9, eps=1e-3, momentum=0.5)",
        torch_equal=False,
        optax="rmsprop(lr, 0.9, 1e-3, eps_in_sqrt=False, momentum=0.5)",
    ),
    Row(
        name="Adam",
        ours="adam(lr)",
        reference="adam(0.9, 0.999, 1e-8)",
        torch="Adam(p, lr)",
        optax="adam(lr)",
    ),
    Row(
        name='Adam without correction (lecture\'s "almost")',
        ours="adam(lr, bias_correction=False)",
        reference="adam(0.9, 0.999, 1e-8, correct=False)",
        torch="Adam(p, lr)",
        torch_equal=False,
        optax="adam(lr)",
        optax_equal=False,
    ),
    Row(
        name="Adam, eps inside the root",
        ours="adam(lr, eps=1e-3, eps_inside_sqrt=True)",
        reference="adam(0.9, 0.999, 1e-3, inside=True)",
        torch="Adam(p, lr, eps=1e-3)",
        torch_equal=False,
        optax="adam(lr, eps=0.0, eps_root=1e-3)",
    ),
    Row(
        name="Adam, eps before correction (TensorFlow, Keras)",
        ours="adam(lr, eps=1e-3, eps_uncorrected=True)",
        reference="adam(0.9, 0.999, 1e-3, eps_hat=True)",
        torch="Adam(p, lr, eps=1e-3)",
        torch_equal=False,
        optax="adam(lr, eps=1e-3)",
        optax_equal=False,
    ),
    Row(
        name="AdamW",
        ours="adamw(lr, weight_decay=0.1)",
        reference="decoupled(adam(0.9, 0.999, 1e-8), 0.1)",
        torch="AdamW(p, lr, weight_decay=0.1)",
        optax="adamw(lr, weight_decay=0.1)",
    ),
    Row(
        name="AdamW, no decay of vectors",
        ours="adamw(lr, weight_decay=0.1, mask=not_vectors)",
        reference="decoupled(adam(0.9, 0.999, 1e-8), 0.1 * (np.arange(9) >= 3))",
        torch="AdamW([{'params': p[1:]}, {'params': p[:1], 'weight_decay': 0.0}], lr, weight_decay=0.1)",
        optax="adamw(lr, weight_decay=0.1, mask={'b': False, 'w': True})",
    ),
    Row(
        name="L2 with momentum",
        ours="chain(add_decayed_weights(0.1), momentum(lr, 0.9))",
        reference="coupled(momentum(0.9), 0.1)",
        torch="SGD(p, lr, momentum=0.9, weight_decay=0.1)",
        optax="chain(add_decayed_weights(0.1), sgd(lr, 0.9))",
    ),
    Row(
        name="L2 with Adam",
        ours="chain(add_decayed_weights(0.1), adam(lr))",
        reference="coupled(adam(0.9, 0.999, 1e-8), 0.1)",
        torch="Adam(p, lr, weight_decay=0.1)",
        optax="chain(add_decayed_weights(0.1), adam(lr))",
    ),
    Row(
        name="Momentum, decoupled decay",
        ours="chain(trace(0.9), add_decayed_weights(0.1), scale_by_learning_rate(lr))",
        reference="decoupled(momentum(0.9), 0.1)",
        torch="SGD(p, lr, momentum=0.9, weight_decay=0.1)",
        torch_equal=False,
        optax="chain(trace(0.9), add_decayed_weights(0.1), scale_by_learning_rate(lr))",
    ),
    Row(
        name="Clipping by value",
        ours="chain(clip_by_value(1.0), momentum(lr, 0.9))",
        reference="clipped_by_value(momentum(0.9), 1.0)",
        torch="SGD(p, lr, momentum=0.9)",
        torch_before="clip_grad_value_(p, 1.0)",
        optax="chain(clip(1.0), sgd(lr, 0.9))",
    ),
    Row(
        name="Clipping by norm",
        ours="chain(clip_by_global_norm(2.0), momentum(lr, 0.9))",
        reference="clipped_by_norm(momentum(0.9), 2.0)",
        torch="SGD(p, lr, momentum=0.9)",
        torch_before="clip_grad_norm_(p, 2.0)",
        torch_equal=False,
        optax="chain(clip_by_global_norm(2.0), sgd(lr, 0.9))",
    ),
    Row(
        name="Clipping by norm, torch's eps",
        ours="chain(clip_by_global_norm(2.0, eps=1e-6), momentum(lr, 0.9))",
        reference="clipped_by_norm(momentum(0.9), 2.0, 1e-6)",
        torch="SGD(p, lr, momentum=0.9)",
        torch_before="clip_grad_norm_(p, 2.0)",
        optax="chain(clip_by_global_norm(2.0), sgd(lr, 0.9))",
        optax_equal=False,
    ),
)
