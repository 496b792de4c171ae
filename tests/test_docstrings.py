"""What the docstring of a public function of ops and optim has to say, read from the syntax trees."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cs231n_jax"
FILES = sorted(path for part in ("ops", "optim") for path in (PACKAGE / part).glob("*.py"))
# Files of parts that the public functions are put together from: no method that somebody published.
PARTS = {"attentive_loop", "base", "buffers", "cells", "conv_cpu", "leaves", "masking", "pixels", "platform"}
PARTS |= {"precision", "time_loop", "turned_loop", "window"}
# What everybody computes alike, or what is ours and has nothing to be compared with.
PLAIN = {
    *("activations.sigmoid", "activations.tanh", "activations.get", "gaussian.get", "gaussian.identity"),
    *("augment.flip_where", "augment.random_crop_flip", "augment.random_flip", "augment.standardize"),
    *("averaging.average_of", "conv.conv", "cudnn_lstm.pack", "dropconnect.keep_mask", "dropconnect.keep_rate"),
    *("fractional_pool.max_between", "fractional_pool.output_size", "fractional_pool.steps"),
    *("init.constant", "init.draw", "init.normal", "init.truncated_normal", "init.uniform"),
    *("measure.measure_gradient_norm", "measure.measurements", "penalties.weights", "recurrent.stacked"),
    *("pool.avg_pool", "pool.global_avg_pool", "schedules.constant", "schedules.duration", "schedules.join"),
    *("schedules.exponential", "schedules.linear", "schedules.staircase", "schedules.step", "transforms.scale"),
    *("transforms.scale_by_learning_rate", "views.flips", "views.shifts"),
}
RANGED = re.compile(r"[≥>≤<]|in [\[(\d]|from \d|at least|as in `|the same|integer|odd")
SOURCE = re.compile("Reference|torch|optax|paper|lecture")


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def entries(doc: str) -> dict[str, str]:
    """The parameters in the section Args, each with what is said of it."""
    section = re.search(r"^Args:\n((?:    .*\n?)+)", doc, re.M)
    found = re.split(r"^    (?=\S)", section[1], flags=re.M)[1:] if section else []
    return {name.strip(" *"): text for name, _, text in (entry.partition(":") for entry in found)}


def lacks(function: ast.FunctionDef, plain: bool, ranged: bool) -> list[str]:
    """What is missing in a function's signature and docstring.

    `plain`: it has no source to name; `ranged`: the file says the ranges of its numbers.
    """
    doc, missing = ast.get_docstring(function) or "", []
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *filter(None, [given.vararg]), *given.kwonlyargs]
    if not function.returns or not all(parameter.annotation for parameter in parameters):
        missing.append("types")
    arguments = entries(doc)
    if arguments and list(arguments) != [parameter.arg for parameter in parameters]:
        missing.append("Args that are its parameters, in their order")
    for parameter in parameters:
        annotation, text = ast.unparse(parameter.annotation or ast.Constant("")), arguments.get(parameter.arg)
        if re.match(r"(?:list\[)?Array\b", annotation) and not plain:
            missing.append(f"the shape of {parameter.arg}")
        if text and annotation in ("float", "int", "Number") and not ranged and not RANGED.search(text):
            missing.append(f"the range or unit of {parameter.arg}")
    if any(isinstance(node, ast.Raise) for node in ast.walk(function)) and not re.search("aises|Refuse", doc):
        missing.append("Raises")
    if not plain and not SOURCE.search(doc):
        missing.append("Reference")
    return missing if doc else ["a docstring"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_public_function_says_its_shapes_ranges_errors_and_source(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    about = ast.get_docstring(tree) or ""
    for function in functions(tree):
        plain = path.stem in PARTS or f"{path.stem}.{function.name}" in PLAIN or bool(SOURCE.search(about))
        missing = lacks(function, plain, bool(RANGED.search(about)))
        assert not missing, f"{path.name}:{function.lineno} {function.name}"


def test_what_is_plain_is_there():
    assert {f"{path.stem}.{f.name}" for path in FILES for f in functions(ast.parse(path.read_text()))} >= PLAIN


WHOLE = '''
def scaled(x: Float[Array, "n"], rate: float) -> Float[Array, "n"]:
    """Return rate·x.

    Args:
        x: [n].
        rate: ≥ 0.

    Raises:
        ValueError: a negative rate.

    Reference: Somebody 2000, equation 1.
    """
    raise ValueError
'''


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("Reference: Somebody 2000, equation 1.", "", "Reference"),
        ("    Raises:\n        ValueError: a negative rate.\n", "", "Raises"),
        ("≥ 0", "how much", "the range or unit of rate"),
        ('x: Float[Array, "n"]', "x: Array", "the shape of x"),
        (", rate: float", ", rate", "types"),
        ("        rate: ≥ 0.\n", "", "Args that are its parameters, in their order"),
        ("x: [n].\n        rate: ≥ 0.", "rate: ≥ 0.\n        x: [n].", "Args that are its parameters, in their order"),
    ],
)
def test_what_is_missing_is_found(old, new, word):
    assert lacks(*functions(ast.parse(WHOLE)), plain=False, ranged=False) == []
    assert old in WHOLE
    found = lacks(*functions(ast.parse(WHOLE.replace(old, new))), plain=False, ranged=False)
    assert any(word in one for one in found)
