"""Weights that need no storing: every element is a formula of the parameter's torch name and the element's index."""

import re
import zlib

import numpy as np


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter or statistic in torch's layout, float32, of a size that keeps signals alive through deep networks.

    Kernels: U(±√(6 / fan_in)); biases and running means: U(±0.1); scales and running variances: U(0.5, 1.5), the last
    scales of a residual block half of that, or the sums would grow until no bias mattered.
    """
    unit = uniform(name, shape)
    if len(shape) > 1:
        return (2 * unit - 1) * np.float32(np.sqrt(6.0 / np.prod(shape[1:])))
    if name.endswith(("bias", "running_mean")):
        return (2 * unit - 1) * np.float32(0.1)
    residual = re.search(r"layer\d\.\d+\.bn[23]\.weight", name)
    return (unit + np.float32(0.5)) * np.float32(0.5 if residual else 1.0)


def images(count: int, side: int) -> np.ndarray:
    """[count, 3, side, side] in U(−2, 2), about what normalised photographs span."""
    return 4 * uniform("images", (count, 3, side, side)) - 2


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in [0, 1): the index mixed with the CRC-32 of the name, by the finisher of MurmurHash3."""
    bits = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint32)
    bits += np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    return ((bits >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)).reshape(shape)
