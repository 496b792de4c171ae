"""The config of a record: --config=experiments/configs/replay.py:PATH/config.json."""

import json
from pathlib import Path

from cs231n_jax.config import Config, from_json


def get_config(path: str) -> Config:
    """Exactly what the JSON file says."""
    return from_json(json.loads(Path(path).read_text()))
