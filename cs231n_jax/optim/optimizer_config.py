"""One flat description of every optimizer, as configs and flags hold it."""

# No `from __future__ import annotations` here: flag overrides read the types of the fields.
import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp

from cs231n_jax.optim.adaptive import scale_by_adagrad, scale_by_adam, scale_by_rms
from cs231n_jax.optim.base import GradientTransformation, chain, check_range, check_types, identity, unknown
from cs231n_jax.optim.clipping import clip_by_global_norm, clip_by_value
from cs231n_jax.optim.constraints import max_norm
from cs231n_jax.optim.masking import OTHERS, assign, check_pattern, not_vectors, partition
from cs231n_jax.optim.measure import measure_gradient_norm, measure_update_ratio
from cs231n_jax.optim.schedules import duration
from cs231n_jax.optim.starting import start_at
from cs231n_jax.optim.transforms import (
    add_decayed_weights,
    scale_by_learning_rate,
    trace,
)
from cs231n_jax.typing import PyTree, Schedule


class DecayMode(enum.Enum):
    """Where weight decay enters."""

    COUPLED = "coupled"  # added to the gradient: L2 regularisation, torch's SGD(weight_decay) and Adam(weight_decay)
    DECOUPLED = "decoupled"  # added to the step, scaled by the learning rate: AdamW


@dataclasses.dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """An optimizer by name: sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw.

    Gradients are measured, clipped and decayed (coupled) in this order, as they are in torch. Where 0 makes no sense
    as a value it means off. `adamw` is `adam` with decay_mode=decoupled, whatever decay_mode says. A field that the
    optimizer does not read has to stay at its default.

    Parameters whose path ("stage1_block2/conv1/kernel") holds a match of rate_paths[i], a regular expression, are
    trained with rate_factors[i] times the learning rate, decay included; all others with the rate as it is. On the
    command line: --config.optimizer.rate_paths="('^stem','^stage1')" --config.optimizer.rate_factors="(0.1,0.1)".
    Before the update that rate_starts[i] names ("500", "3ep", "25%") they stay where they are, without moments and with
    no part in the norm; from there on they are trained at the rate that the schedule then has.
    """

    name: str = "momentum"
    learning_rate: float = 0.1  # the peak of the schedule
    rate_paths: tuple[str, ...] = ()  # groups of parameters with a rate of their own; none may be in two groups
    rate_factors: tuple[float, ...] = ()  # one for each group
    rate_starts: tuple[str, ...] = ()  # none, or one duration for each group; "0": from the beginning
    momentum: float = 0.9  # momentum, nesterov; for rmsprop see rmsprop_momentum
    rate_inside: bool = False  # with momentum: the learning rate scales the gradient before it is added up
    b1: float = 0.9  # adam, adamw
    b2: float = 0.999  # adam, adamw
    bias_correction: bool = True  # adam, adamw
    decay: float = 0.9  # rmsprop
    centered: bool = False  # rmsprop
    rmsprop_momentum: float = 0.0  # rmsprop
    eps: float = 1e-8  # adagrad (torch: 1e-10), rmsprop, adam, adamw
    eps_inside_sqrt: bool = False  # adagrad, rmsprop, adam, adamw
    initial_accumulator: float = 0.0  # adagrad, rmsprop
    weight_decay: float = 0.0
    decay_mode: DecayMode = DecayMode.COUPLED
    decay_vectors: bool = True  # off: biases, slopes, scale and shift of normalisation do not
    clip_norm: float = 0.0
    clip_value: float = 0.0
    max_norm: float = 0.0  # bound on the norm of each unit's incoming weights, kept after every update
    state_float32: bool = False  # all but sgd: slots in float32 where parameters are narrower
    measure_ratio: bool = False  # log update_ratio, ‖update‖ / ‖parameters‖; ResNet-20 then takes 0.3 s more to compile

    def validate(self) -> None:
        """Refuse what no run can use; raises ValueError with the field and its value."""
        check_types(self, "optimizer")
        if self.name not in _STEPS:
            raise ValueError(unknown("optimizer", self.name, _STEPS))
        for field in ("learning_rate", "eps", "initial_accumulator", "weight_decay"):
            check_range(f"optimizer.{field}", getattr(self, field), 0.0)
        for field in ("clip_norm", "clip_value", "max_norm"):
            check_range(f"optimizer.{field}", getattr(self, field), 0.0)
        for field in ("momentum", "rmsprop_momentum", "b1", "b2", "decay"):
            check_range(f"optimizer.{field}", getattr(self, field), 0.0, 1.0, open_high=True)
        groups = {OTHERS, *self.rate_paths}
        if not len(self.rate_factors) == len(self.rate_paths) == len(groups) - 1:
            raise ValueError(
                f"optimizer.rate_factors={self.rate_factors} for rate_paths={self.rate_paths}: give one factor for "
                "each path, and no path twice"
            )
        for path, factor in zip(self.rate_paths, self.rate_factors, strict=True):
            check_pattern("one of optimizer.rate_paths", path)
            check_range("optimizer.rate_factors", factor, 0.0)
        if self.rate_starts and len(self.rate_starts) != len(self.rate_paths):
            raise ValueError(
                f"optimizer.rate_starts={self.rate_starts} for rate_paths={self.rate_paths}: give none, or one for "
                "each path"
            )
        for start in self.rate_starts:
            try:
                duration(start, total_steps=1, steps_per_epoch=1)
            except ValueError as error:
                raise ValueError(f"optimizer.rate_starts: {error}") from None
        self._refuse_unread_fields()
        # Decoupled decay is added to the finished step; behind the rate it would not be scaled by it.
        if self.weight_decay and self.rate_inside and self.decay_mode is DecayMode.DECOUPLED:
            raise ValueError("optimizer.rate_inside and decay_mode=decoupled cannot be combined: leave one of them out")

    def _refuse_unread_fields(self) -> None:
        own = _STEPS[self.name][1]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in (*_SHARED, *own) and value != field.default:
                raise ValueError(
                    f"optimizer.{field.name}={value!r} is not read by {self.name}, which has {', '.join(own) or 'none'}"
                    f" of its own: leave it at {field.default!r}, or choose another optimizer"
                )
        if self.name == "rmsprop" and self.rate_inside and not self.rmsprop_momentum:
            raise ValueError("optimizer.rate_inside=True says where the momentum of rmsprop goes: set rmsprop_momentum")

    def build(
        self, schedule: Schedule, group_schedules: Sequence[Schedule] = (), group_starts: Sequence[int] = ()
    ) -> GradientTransformation:
        """The optimizer of one run; `measurements` reads its state.

        Args:
            schedule: updates done so far -> learning rate; made by ScheduleConfig.build(learning_rate, …).
            group_schedules: one for each of rate_paths, made of rate_factors[i]·learning_rate, so that a group is
                trained to the last digit as by a run at that rate; by default rate_factors[i]·schedule.
            group_starts: rate_starts in updates; by default all begin at once.

        Returns:
            a transformation.

        Raises:
            ValueError: a field is out of range or not read; or, when the transformation meets the parameters, one of
                rate_paths matches none of them, or two match the same.
        """
        self.validate()
        parts = [clip_by_global_norm(self.clip_norm) if self.clip_norm else measure_gradient_norm()]
        if self.clip_value:
            parts.append(clip_by_value(self.clip_value))
        rates = dict(
            zip(
                self.rate_paths,
                group_schedules or [_scaled(schedule, factor) for factor in self.rate_factors],
                strict=True,
            )
        )
        if any(group_starts):
            starts = dict(zip(self.rate_paths, group_starts, strict=True))
            parts = [_silent(starts), *parts, self._steps_of_groups(schedule, rates, starts)]
        else:
            parts += self._steps(_rate(self, schedule, rates))
        if self.measure_ratio:
            parts.append(measure_update_ratio())
        return chain(*parts)

    def _steps(self, rate: GradientTransformation) -> list[GradientTransformation]:
        """What makes a step of a clipped gradient, the learning rate as given."""
        decay = add_decayed_weights(self.weight_decay, None if self.decay_vectors else not_vectors)
        decoupled = self.decay_mode is DecayMode.DECOUPLED or self.name == "adamw"
        before, after = _STEPS[self.name][0](self)
        first, last = ([], [decay]) if decoupled else ([decay], [])
        if not self.weight_decay:
            first = last = []
        bound = [max_norm(self.max_norm)] if self.max_norm else []
        return [*first, *before, *last, rate, *after, *bound]

    def _steps_of_groups(
        self, schedule: Schedule, rates: Mapping[str, Schedule], starts: Mapping[str, int]
    ) -> GradientTransformation:
        """The same with slots for each group, so that those of one that has not begun stand still."""
        rules = {OTHERS: (OTHERS, chain(*self._steps(scale_by_learning_rate(schedule))))}
        for path, rate in rates.items():
            late = scale_by_learning_rate(_later(rate, starts[path]))
            rules[path] = (path, start_at(chain(*self._steps(late)), starts[path]))
        return _of_groups(self, rules)


def _rate(c: OptimizerConfig, schedule: Schedule, rates: Mapping[str, Schedule]) -> GradientTransformation:
    """The step of the learning rate, with a rule for every group that has its own."""
    if not rates:
        return scale_by_learning_rate(schedule)
    every = {**rates, OTHERS: schedule}
    return _of_groups(c, {path: (path, scale_by_learning_rate(rate)) for path, rate in every.items()})


def _silent(starts: Mapping[str, int]) -> GradientTransformation:
    """Gradients, but of groups that have not begun zeros, which count for nothing in the norm."""
    rules = {path: (path, start_at(identity(), start)) for path, start in starts.items()}
    return partition({**rules, OTHERS: (OTHERS, identity())})


def _of_groups(c: OptimizerConfig, rules: Mapping[str, tuple[str, GradientTransformation]]) -> GradientTransformation:
    """A partition that says which of rate_paths does not fit the parameters."""
    groups = partition(rules)

    def init(params: PyTree) -> PyTree:
        try:
            found = assign(rules, params)
        except ValueError as error:
            raise ValueError(f"optimizer.rate_paths={c.rate_paths}: {error}") from None
        for path in c.rate_paths:
            if not any(found[path]):
                raise ValueError(
                    f"optimizer.rate_paths={c.rate_paths}: {path!r} matches no parameter that is trained; "
                    "inspect_model --table=parameters lists their paths"
                )
        return groups.init(params)

    return GradientTransformation(init, groups.update)


def _scaled(schedule: Schedule, factor: float) -> Schedule:
    return lambda count: factor * schedule(count)


def _later(schedule: Schedule, start: int) -> Schedule:
    """The schedule as one sees it who begins to count at `start`."""
    return lambda count: schedule(count + start)


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


_SHARED = (
    "name",
    "learning_rate",
    "rate_paths",
    "rate_factors",
    "rate_starts",
    "weight_decay",
    "decay_mode",
    "decay_vectors",
    "clip_norm",
    "clip_value",
    "max_norm",
    "measure_ratio",
)
_VELOCITY = ("momentum", "rate_inside", "state_float32")
_ROOT = ("eps", "eps_inside_sqrt", "state_float32")

# By name: its steps, and the fields that it alone reads.
_STEPS: dict[str, tuple[Callable[[OptimizerConfig], Parts], tuple[str, ...]]] = {
    "sgd": (_sgd, ()),
    "momentum": (_momentum, _VELOCITY),
    "nesterov": (_nesterov, _VELOCITY),
    "adagrad": (_adagrad, (*_ROOT, "initial_accumulator")),
    "rmsprop": (_rmsprop, (*_ROOT, "initial_accumulator", "decay", "centered", "rmsprop_momentum", "rate_inside")),
    "adam": (_adam, (*_ROOT, "b1", "b2", "bias_correction")),
    "adamw": (_adam, (*_ROOT, "b1", "b2", "bias_correction")),
}
