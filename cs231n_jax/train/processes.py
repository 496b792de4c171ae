"""Several processes as one run: process 0 writes, all agree; with one process everything here is a plain call.

The run directory is on a file system that all processes share.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")


class OtherProcessError(Exception):
    """Process 0 could not go on; its own message says why."""


def is_main() -> bool:
    """Whether this is the process that writes files and speaks to a person."""
    return jax.process_index() == 0


def agree(value: int) -> int:
    """The value that process 0 has, in every process; it has to fit 32 bits."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def anyone(asked: bool) -> bool:
    """Whether `asked` is true in any process; all have to call it at the same place."""
    if jax.process_count() == 1:
        return asked
    return bool(np.any(multihost_utils.process_allgather(np.int32(asked))))


def same(what: str, text: str) -> None:
    """Refuse to go on where the processes were given different things.

    Raises:
        ValueError: in every process that was not given what process 0 was.
    """
    mine = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1
    if agree(mine) != mine:
        raise ValueError(f"this process has another {what} than process 0: start all with the same arguments")


def on_main(action: Callable[[], T]) -> T | None:
    """Run `action` in process 0 while the others wait for its end; they get None.

    Raises:
        OtherProcessError: in the other processes, when `action` failed; in process 0 its own exception.
    """
    if jax.process_count() == 1:
        return action()
    result, failure = None, None
    if is_main():
        try:
            result = action()
        except Exception as error:  # told to the others first, raised below
            failure = error
    failed = agree(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise OtherProcessError("process 0 stopped with an error, which its own output names")
    return result
