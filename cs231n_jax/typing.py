"""Names for the few shapes of data that every part of the library passes around."""

from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key, as made by jax.random.key
PyTree = Any
Params = PyTree  # nested dict: module path -> array
ModelState = PyTree  # nested dict of every non-trained variable, by collection
Batch = dict[str, Array]
Schedule = Callable[[Any], Any]  # number of updates done so far -> value of the hyper-parameter
