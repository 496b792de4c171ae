"""Models without parameters to learn: a table of logits for each history, reached through the carry."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(n, vocabulary, steps, seed=0):
    """Logits [n, histories, V]: row r, every history of up to `steps` tokens, numbered as in a V-ary tree."""
    histories = sum(vocabulary**t for t in range(steps + 1))
    return 1.5 * np.random.default_rng(seed).standard_normal((n, histories, vocabulary))


def step_of(table):
    """The step of the model, whose carry is {"row", "node"}: the root is reached by feeding any first token."""
    table = jnp.asarray(table)
    v = table.shape[-1]

    def step(carry, token):
        child = jnp.where(carry["node"] < 0, 0, carry["node"] * v + 1 + token)
        child = jnp.minimum(child, table.shape[1] - 1)  # after an end it does not matter
        return table[carry["row"], child], {**carry, "node": child}

    return step


def carry_of(rows):
    rows = jnp.asarray(rows, jnp.int32)
    return {"row": rows, "node": jnp.full_like(rows, -1)}


def prompt_of(rows):
    return jnp.zeros((len(rows), 1), jnp.int32)


def logits_of(table, row):
    """The same as a function of the history."""

    def logits(history):
        node = 0
        for token in history:
            node = node * table.shape[-1] + 1 + token
        return table[row, node]

    return logits


def compiled(decode, table, *arguments, **options):
    """decode(step, carry, prompt, *arguments, **options) as a function of rows of a table, with results in numpy."""

    @jax.jit
    def run(rows):
        return decode(step_of(table), carry_of(rows), prompt_of(rows), *arguments, **options)

    return lambda rows: jax.device_get(run(jnp.asarray(rows, jnp.int32)))


def jitted(decode, table, rows, *arguments, **options):
    """The same, called once."""
    return compiled(decode, table, *arguments, **options)(rows)
