"""Optimizers, schedules and clipping for any JAX code: pure functions over trees of arrays, in optax's contract."""

from cs231n_jax.optim import lecture, schedules
from cs231n_jax.optim.adaptive import AdagradState, AdamState, RmsState, scale_by_adagrad, scale_by_adam, scale_by_rms
from cs231n_jax.optim.averaging import AverageState, average_of, track_ema, track_mean
from cs231n_jax.optim.base import (
    EmptyState,
    GradientTransformation,
    all_finite,
    apply_updates,
    chain,
    global_norm,
    identity,
)
from cs231n_jax.optim.clipping import ClipState, DropState, clip_by_global_norm, clip_by_value, drop_nonfinite
from cs231n_jax.optim.constraints import max_norm
from cs231n_jax.optim.masking import (
    OTHERS,
    MaskedState,
    PartitionState,
    by_path,
    freeze,
    masked,
    not_vectors,
    partition,
)
from cs231n_jax.optim.measure import (
    NormState,
    RatioState,
    measure_gradient_norm,
    measure_update_ratio,
    measurements,
)
from cs231n_jax.optim.optimizer_config import DecayMode, OptimizerConfig
from cs231n_jax.optim.recipes import adagrad, adam, adamw, lookahead, momentum, nesterov, rmsprop, sgd
from cs231n_jax.optim.schedule_config import ScheduleConfig
from cs231n_jax.optim.starting import StartState, start_at
from cs231n_jax.optim.transforms import (
    LearningRateState,
    TraceState,
    add_decayed_weights,
    scale,
    scale_by_learning_rate,
    trace,
)

__all__ = [
    "OTHERS",
    "AdagradState",
    "AdamState",
    "AverageState",
    "ClipState",
    "DecayMode",
    "DropState",
    "EmptyState",
    "GradientTransformation",
    "LearningRateState",
    "MaskedState",
    "NormState",
    "OptimizerConfig",
    "PartitionState",
    "RatioState",
    "RmsState",
    "ScheduleConfig",
    "StartState",
    "TraceState",
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "all_finite",
    "apply_updates",
    "average_of",
    "by_path",
    "chain",
    "clip_by_global_norm",
    "clip_by_value",
    "drop_nonfinite",
    "freeze",
    "global_norm",
    "identity",
    "lecture",
    "lookahead",
    "masked",
    "max_norm",
    "measure_gradient_norm",
    "measure_update_ratio",
    "measurements",
    "momentum",
    "nesterov",
    "not_vectors",
    "partition",
    "rmsprop",
    "scale",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_rms",
    "schedules",
    "sgd",
    "start_at",
    "trace",
    "track_ema",
    "track_mean",
]
