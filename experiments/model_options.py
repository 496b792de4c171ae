"""Options of a model for programs that have no config: --option=width=4 --option=num_classes=10."""

import ast
from typing import Any

from absl import flags

from experiments.overrides import UsageError

_OPTION = flags.DEFINE_multi_string("option", [], "Option of the model, such as num_classes=10; may be repeated.")


def given() -> dict[str, Any]:
    """The options given, as Python values where they can be read as such.

    Raises:
        UsageError: one is not of the form NAME=VALUE.
    """
    return dict(_parse(text) for text in _OPTION.value)


def _parse(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--option={text}: write --option=NAME=VALUE, for example --option=num_classes=10")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key, value
