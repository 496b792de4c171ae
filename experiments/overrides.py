"""Checks --config.a.b=value flags against the config before they are parsed, to say which field was meant."""

import dataclasses
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cs231n_jax.config import nearest


class UsageError(Exception):
    """The command line is wrong; the message says what is allowed."""


def check(arguments: Sequence[str]) -> None:
    """Refuse overrides of fields that do not exist.

    Args:
        arguments: the command line without the program's name, --config=FILE among it.

    Raises:
        UsageError: the message names the field given and the nearest right one.
    """
    flags = [a.lstrip("-") for a in arguments if a.startswith("-")]
    paths = [f.split("=", 1)[0].split(".")[1:] for f in flags if f.startswith("config.")]
    given = [f.split("=", 1)[1] for f in flags if f.startswith("config=")]
    if not given:
        raise UsageError("write --config=FILE as one word, with an equals sign")
    config = load(given[-1])
    for path in paths:
        _walk(config, path)


def chosen(kind: str, arguments: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """The names given on the command line, for "all" all there are; for "list" none, after printing each.

    Args:
        kind: what is chosen from, for messages.
        arguments: the command line without flags.
        known: name -> what it is, in one line.

    Raises:
        UsageError: there is no name, or one that is not known; the message names the nearest right one.
    """
    if not arguments:
        raise UsageError(f"name a {kind}: {', '.join(known)}; or: list, all")
    if arguments == ["list"]:
        print(*(f"{name:20} {about}" for name, about in known.items()), sep="\n")
        return []
    names = list(known) if arguments == ["all"] else list(arguments)
    for name in names:
        if name not in known:
            raise UsageError(f"no {kind} is called {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return names


def load(text: str) -> Any:
    """The config of FILE or FILE:ARGUMENT."""
    path, colon, argument = text.partition(":")
    if not Path(path).is_file():
        raise UsageError(f"config file {path} does not exist: pass --config=experiments/configs/NAME.py[:ARGUMENT]")
    try:
        get_config = runpy.run_path(path)["get_config"]
        return get_config(argument) if colon else get_config()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{text} is no config ({reason}): give FILE.py or FILE.py:ARGUMENT") from error


def _walk(config: Any, path: Sequence[str]) -> None:
    holder, seen = config, "config"
    for name in path:
        fields = list(holder) if isinstance(holder, dict) else [f.name for f in dataclasses.fields(holder)]
        if name not in fields:
            raise UsageError(
                f"--config.{'.'.join(path)}: {seen} has no {name!r}{nearest(name, fields)}; it has {', '.join(fields)}"
            )
        holder, seen = holder[name] if isinstance(holder, dict) else getattr(holder, name), f"{seen}.{name}"
        if not (isinstance(holder, dict) or dataclasses.is_dataclass(holder)):
            if seen != f"config.{'.'.join(path)}":
                raise UsageError(f"--config.{'.'.join(path)}: {seen} is a value and has no fields")
            return
    inside = list(holder) if isinstance(holder, dict) else [f.name for f in dataclasses.fields(holder)]
    raise UsageError(f"--{seen} holds {', '.join(inside) or 'options'}: set one of them, as in --{seen}.NAME=value")
