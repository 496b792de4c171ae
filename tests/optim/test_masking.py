import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cs231n_jax import optim

PARAMS = {
    "stem": {"kernel": jnp.full((3, 3, 1, 2), 0.5), "bias": jnp.array([-0.0, 0.25])},
    "head": {"kernel": jnp.full((2, 4), 0.5), "bias": jnp.ones(4)},
}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def step(optimizer, params=PARAMS, grads=GRADS, steps=1):
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply_updates(params, updates)
    return params, state


def shapes(state):
    return sorted(x.shape for x in jax.tree.leaves(state) if x.ndim)


def test_a_masked_step_sees_some_leaves_and_has_slots_for_those():
    doubled = optim.masked(optim.trace(0.9), optim.not_vectors)
    updates, state = doubled.update(GRADS, doubled.init(PARAMS), PARAMS)
    updates, state = doubled.update(GRADS, state, PARAMS)
    assert float(updates["head"]["kernel"][0, 0]) == pytest.approx(1.9)
    assert float(updates["head"]["bias"][0]) == 1.0
    assert shapes(state) == [(2, 4), (3, 3, 1, 2)]


@pytest.mark.parametrize(
    "mask",
    [
        {"stem": {"kernel": True, "bias": False}, "head": {"kernel": True, "bias": False}},
        optim.not_vectors,
        optim.by_path("kernel$"),
        optim.by_path(lambda path: path.endswith("/kernel")),
    ],
)
def test_masks_may_be_trees_or_functions(mask):
    params, _ = step(optim.chain(optim.add_decayed_weights(0.1, mask), optim.sgd(1.0)), grads=zeros(PARAMS))
    np.testing.assert_allclose(params["stem"]["kernel"], 0.45)
    np.testing.assert_array_equal(params["stem"]["bias"], PARAMS["stem"]["bias"])


def zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def test_a_mask_of_another_structure_is_refused():
    with pytest.raises(ValueError, match="one boolean for every parameter"):
        optim.masked(optim.identity(), {"stem": True}).init(PARAMS)


def test_groups_have_their_own_rates_and_frozen_ones_have_nothing():
    rules = {
        "frozen": ("^stem/", optim.freeze()),
        "kernels": (lambda path: path == "head/kernel", optim.adamw(0.1, weight_decay=0.5)),
        "rest": (optim.OTHERS, optim.momentum(0.01)),
    }
    params, state = step(optim.partition(rules), steps=3)
    for name in ("kernel", "bias"):
        assert params["stem"][name].tobytes() == PARAMS["stem"][name].tobytes()
    np.testing.assert_allclose(params["head"]["bias"], 1 - 0.01 * (1 + 1.9 + 2.71), rtol=1e-6)
    assert float(params["head"]["kernel"][0, 0]) < 0.5 - 0.3
    assert jax.tree.leaves(state.inner["frozen"]) == []
    assert shapes(state) == [(2, 4), (2, 4), (4,)]
    read = optim.measurements(state)
    assert {name: round(float(value), 6) for name, value in read.items()} == {
        "learning_rate/kernels": 0.1,
        "learning_rate/rest": 0.01,
    }


@pytest.mark.parametrize("decay", [optim.add_decayed_weights(0.5), optim.identity()])
def test_frozen_parameters_do_not_move_whatever_stands_in_front(decay):
    frozen = optim.partition({"frozen": ("^stem", optim.freeze()), "rest": (optim.OTHERS, optim.identity())})
    params, _ = step(optim.chain(decay, optim.momentum(0.1), frozen), steps=3)
    assert params["stem"]["bias"].tobytes() == PARAMS["stem"]["bias"].tobytes()
    assert float(params["head"]["bias"][0]) != 1.0


def test_every_parameter_needs_exactly_one_rule():
    with pytest.raises(ValueError, match=r"'head/bias' is matched by none of stem"):
        optim.partition({"stem": ("stem", optim.sgd(0.1))}).init(PARAMS)
    with pytest.raises(ValueError, match=r"'head/kernel' is matched by head and kernels"):
        optim.partition(
            {
                "head": ("^head", optim.sgd(0.1)),
                "kernels": ("kernel", optim.sgd(0.1)),
                "rest": (optim.OTHERS, optim.sgd(0.1)),
            }
        ).init(PARAMS)
    with pytest.raises(ValueError, match="two rules"):
        optim.partition({"a": (optim.OTHERS, optim.sgd(0.1)), "b": (optim.OTHERS, optim.sgd(0.1))})


def test_a_partition_may_stand_inside_a_mask_and_inside_a_partition():
    nothing = lambda tree: jax.tree.map(lambda _: False, tree)  # noqa: E731
    inner = optim.partition({"head": ("^head", optim.sgd(0.1)), "rest": (optim.OTHERS, optim.sgd(0.2))})
    outer = optim.partition({"kernels": ("kernel$", inner), "rest": (optim.OTHERS, optim.masked(inner, nothing))})
    updates, _ = outer.update(GRADS, outer.init(PARAMS), PARAMS)
    assert float(updates["head"]["kernel"][0, 0]) == pytest.approx(-0.1)
    assert float(updates["stem"]["kernel"][0, 0, 0, 0]) == pytest.approx(-0.2)
    assert float(updates["head"]["bias"][0]) == 1.0


def test_a_partition_compiles_and_equals_its_parts():
    rules = {"head": ("^head", optim.adam(0.1)), "stem": ("^stem", optim.momentum(0.2))}
    whole, _ = step(optim.partition(rules), steps=4)
    optimizer = optim.partition(rules)
    update = jax.jit(optimizer.update)
    state, params = optimizer.init(PARAMS), PARAMS
    for _ in range(4):
        updates, state = update(GRADS, state, params)
        params = optim.apply_updates(params, updates)
    head, _ = step(optim.adam(0.1), PARAMS["head"], GRADS["head"], 4)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(whole["head"][name], head[name], rtol=1e-6)
        np.testing.assert_allclose(params["head"][name], head[name], rtol=1e-6)


def test_a_mask_of_all_parameters_serves_inside_a_partition():
    """A tree of booleans for the whole model, in the rule of a part of it."""
    whole = {"stem": {"kernel": True, "bias": False}, "head": {"kernel": True, "bias": False}}

    def head_alone(mask):
        decayed = optim.adamw(0.1, weight_decay=0.5, mask=mask)
        return optim.partition({"head": ("^head", decayed), "rest": (optim.OTHERS, optim.masked(optim.freeze(), mask))})

    (a, _), (b, _) = step(head_alone(whole), steps=3), step(head_alone(optim.not_vectors), steps=3)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match="one boolean for every parameter"):
        optim.partition({"all": (optim.OTHERS, optim.adamw(0.1, mask={"head": {"kernel": True}}))}).init(PARAMS)


@pytest.mark.parametrize("make", [lambda p: optim.partition({"stem": (p, optim.freeze())}), optim.by_path])
def test_a_text_that_is_no_regular_expression_is_named_at_once(make):
    with pytest.raises(ValueError, match=r"is '\(stem', which is no regular expression: missing \)"):
        make("(stem")


def test_the_rule_with_the_bad_expression_is_named():
    with pytest.raises(ValueError, match="the rule 'b' of a partition is '\\*'"):
        optim.partition({"a": ("^a", optim.freeze()), "b": ("*", optim.freeze())})


NO_TRANSFORMATIONS = """
from cs231n_jax import optim
for make in (
    lambda: optim.partition({"a": optim.sgd(0.1)}),
    lambda: optim.partition([("^a", optim.freeze())]),
    lambda: optim.partition({"a": (3, optim.freeze())}),
    lambda: optim.partition({"a": ("^a", optim.sgd)}),
    lambda: optim.partition({}),
    lambda: optim.chain(optim.freeze(), optim.sgd),
    lambda: optim.chain(0.1),
    lambda: optim.schedules.warmup(0.1, 5),
    lambda: optim.schedules.join([optim.schedules.constant(0.1), 0.2], [3]),
):
    try:
        make()
    except (TypeError, ValueError) as error:
        print(error)
"""


def test_what_is_no_transformation_is_refused_when_the_parts_are_put_together():
    """In a process whose annotations nobody checks, which they are here."""
    command = [sys.executable, "-c", NO_TRANSFORMATIONS]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    words = (
        "the rule 'a' is .*: put a predicate in front, such as OTHERS",
        "got a list",
        "the predicate of the rule 'a' is 3",
        "the transformation of the rule 'a' is .*: call it, as in sgd",
        "got no rule",
        "part 2 of a chain is .*: call it, as in sgd",
        "part 1 of a chain is 0.1, which has no init and update",
        r"behind a warm-up is 0\.1, which is no function of the count: write constant\(0\.1\)",
        r"to join is 0\.2, which is no function",
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(words), done.stdout
    for line, pattern in zip(lines, words):
        assert re.search(pattern, line), line
