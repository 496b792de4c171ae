"""One flat description of every optimizer, as configs and flags hold it."""

# No `from __future__ import annotations` here: flag overrides read the types of the fields.
import dataclasses
import enum
from collections.abc import Callable

import jax.numpy as jnp

from cs231n_jax.optim.adaptive import scale_by_adagrad, scale_by_adam, scale_by_rms
from cs231n_jax.optim.base import GradientTransformation, chain, check_range, unknown
from cs231n_jax.optim.clipping import clip_by_global_norm, clip_by_value
from cs231n_jax.optim.masking import not_vectors
from cs231n_jax.optim.measure import measure_gradient_norm, measure_update_ratio
from cs231n_jax.optim.transforms import (
    add_decayed_weights,
    scale_by_learning_rate,
    trace,
)
from cs231n_jax.typing import Schedule


class DecayMode(enum.Enum):
    """Where weight decay enters."""

    COUPLED = "coupled"  # added to the gradient: L2 regularisation, torch's SGD(weight_decay) and Adam(weight_decay)
    DECOUPLED = "decoupled"  # added to the step, scaled by the learning rate: AdamW


@dataclasses.dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """An optimizer by name: sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw.

    Gradients are measured, clipped and decayed (coupled) in this order, as they are in torch. Where 0 makes no sense
    as a value it means off. `adamw` is `adam` with decay_mode=decoupled, whatever decay_mode says.
    """

    name: str = "momentum"
    learning_rate: float = 0.1  # the peak of the schedule
    momentum: float = 0.9  # momentum, nesterov; for rmsprop see rmsprop_momentum
    rate_inside: bool = False  # the learning rate scales the gradient before momentum adds it up
    b1: float = 0.9  # adam, adamw
    b2: float = 0.999  # adam, adamw
    bias_correction: bool = True  # adam, adamw
    decay: float = 0.9  # rmsprop
    centered: bool = False  # rmsprop
    rmsprop_momentum: float = 0.0
    eps: float = 1e-8  # adagrad (torch: 1e-10), rmsprop, adam, adamw
    eps_inside_sqrt: bool = False  # adagrad, rmsprop, adam, adamw
    initial_accumulator: float = 0.0  # adagrad, rmsprop
    weight_decay: float = 0.0
    decay_mode: DecayMode = DecayMode.COUPLED
    decay_vectors: bool = True  # off: biases and the scale and shift of normalisation do not decay
    clip_norm: float = 0.0
    clip_value: float = 0.0
    state_float32: bool = False  # slots in float32 where parameters are narrower
    measure_ratio: bool = False  # log update_ratio, ‖update‖ / ‖parameters‖; ResNet-20 then takes 0.3 s more to compile

    def validate(self) -> None:
        """Refuse what no run can use; raises ValueError with the field and its value."""
        if self.name not in _STEPS:
            raise ValueError(unknown("optimizer", self.name, _STEPS))
        for field in ("learning_rate", "eps", "initial_accumulator", "weight_decay", "clip_norm", "clip_value"):
            check_range(f"optimizer.{field}", getattr(self, field), 0.0)
        for field in ("momentum", "rmsprop_momentum", "b1", "b2", "decay"):
            check_range(f"optimizer.{field}", getattr(self, field), 0.0, 1.0, open_high=True)

    def build(self, schedule: Schedule) -> GradientTransformation:
        """The optimizer of one run; `measurements` reads its state.

        Args:
            schedule: updates done so far -> learning rate; made by ScheduleConfig.build(learning_rate, …).

        Returns:
            a transformation.

        Raises:
            ValueError: a field is out of range.
        """
        self.validate()
        parts = [clip_by_global_norm(self.clip_norm) if self.clip_norm else measure_gradient_norm()]
        if self.clip_value:
            parts.append(clip_by_value(self.clip_value))
        decay = add_decayed_weights(self.weight_decay, None if self.decay_vectors else not_vectors)
        decoupled = self.decay_mode is DecayMode.DECOUPLED or self.name == "adamw"
        if self.weight_decay and not decoupled:
            parts.append(decay)
        rate = scale_by_learning_rate(schedule)
        before, after = _STEPS[self.name](self)
        # Decoupled decay is added to the finished step; behind the rate it would not be scaled by it.
        if self.weight_decay and decoupled and self.rate_inside and after:
            raise ValueError("optimizer.rate_inside and decay_mode=decoupled cannot be combined")
        parts += before
        if self.weight_decay and decoupled:
            parts.append(decay)
        parts += [rate, *after]
        if self.measure_ratio:
            parts.append(measure_update_ratio())
        return chain(*parts)


Parts = tuple[list[GradientTransformation], list[GradientTransformation]]


def _sgd(c: OptimizerConfig) -> Parts:
    del c
    return [], []


def _momentum(c: OptimizerConfig) -> Parts:
    step = trace(c.momentum, state_dtype=_dtype(c))
    return ([], [step]) if c.rate_inside else ([step], [])


def _nesterov(c: OptimizerConfig) -> Parts:
    step = trace(c.momentum, nesterov=not c.rate_inside, rearranged=c.rate_inside, state_dtype=_dtype(c))
    return ([], [step]) if c.rate_inside else ([step], [])


def _adagrad(c: OptimizerConfig) -> Parts:
    step = scale_by_adagrad(
        c.eps,
        eps_inside_sqrt=c.eps_inside_sqrt,
        initial_accumulator=c.initial_accumulator,
        state_dtype=_dtype(c),
    )
    return [step], []


def _rmsprop(c: OptimizerConfig) -> Parts:
    step = scale_by_rms(
        c.decay,
        c.eps,
        centered=c.centered,
        eps_inside_sqrt=c.eps_inside_sqrt,
        initial_accumulator=c.initial_accumulator,
        state_dtype=_dtype(c),
    )
    if not c.rmsprop_momentum:
        return [step], []
    add_up = trace(c.rmsprop_momentum, state_dtype=_dtype(c))
    return ([step], [add_up]) if c.rate_inside else ([step, add_up], [])


def _adam(c: OptimizerConfig) -> Parts:
    step = scale_by_adam(
        c.b1,
        c.b2,
        c.eps,
        bias_correction=c.bias_correction,
        eps_inside_sqrt=c.eps_inside_sqrt,
        state_dtype=_dtype(c),
    )
    return [step], []


def _dtype(c: OptimizerConfig) -> type | None:
    return jnp.float32 if c.state_float32 else None


_STEPS: dict[str, Callable[[OptimizerConfig], Parts]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adam,
}
