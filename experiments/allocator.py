"""How the programs treat memory: XLA's temporaries stay mapped between steps, cycles are looked for rarely."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -3, -4, -8  # malloc.h


def keep_pages() -> None:
    """Tell malloc to use one arena, no mmap, and never to give memory back.

    A train step's temporaries (200–290 MB for ResNet-20 at batch 128) are otherwise mapped and unmapped in every step,
    tens of thousands of page faults. Memory stays at its peak. Call it before jax starts its threads; without glibc it
    does nothing.
    """
    _tell({_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20})


def give_back() -> None:
    """Tell malloc the contrary: what is freed is gone from the process at once, so that what it holds can be seen."""
    _tell({_M_MMAP_THRESHOLD: 128 << 10})


def _tell(options: dict[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for option, value in options.items():
        mallopt(option, value)


def collect_rarely() -> None:
    """Look for unreachable cycles once in 100,000 new objects, not in 700: tracing makes many, and keeps them."""
    gc.set_threshold(100_000, 20, 20)
