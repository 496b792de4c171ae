"""One flat description of every schedule, as configs and flags hold it."""

# No `from __future__ import annotations` here: flag overrides read the types of the fields.
import dataclasses
from collections.abc import Callable

from cs231n_jax.optim import schedules
from cs231n_jax.optim.base import check_count, check_range, check_types, unknown
from cs231n_jax.optim.schedules import duration
from cs231n_jax.typing import Schedule


@dataclasses.dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """A schedule by name. Durations are strings: "500" updates, "10ep" epochs, "90%" of the run.

    constant; linear and cosine (to `final` at the end of the run); step (at `boundaries` times `factors`);
    staircase (times factors[0] every `period`); exponential, inverse_time and inverse_sqrt (with `rate` for each
    `period`); cosine_restarts (`period`, `t_mult`, `final`); snapshot_cosine (`cycles`); swa (the peak until half of
    `start`, a straight line to `final` at `start`, then `final`); fge_triangle (the same way to `high` at `start`, then
    down to `final` and up again in every `period`). Of what a schedule does not read only type and range are looked at,
    so that a name can be changed alone.
    """

    name: str = "constant"
    warmup: str = "0"  # a straight line in front, from warmup_start; boundaries and snapshot cycles stay in place
    warmup_start: float = 0.0  # as a share of the peak rate
    boundaries: tuple[str, ...] = ()  # from the start of training
    factors: tuple[float, ...] = (0.1,)  # one for all boundaries, or one for each
    period: str = "1ep"
    rate: float = 1.0  # k for each period
    t_mult: float = 1.0  # growth of the cycles
    cycles: int = 1  # M
    final: float = 0.0  # as a share of the peak rate
    start: str = "0"  # where the rate of swa, or the cycles of fge_triangle, begin
    high: float = 1.0  # between the cycles of fge_triangle, as a share of the peak rate

    def validate(self) -> None:
        """Refuse what no run can use; raises ValueError with the field and its value."""
        check_types(self, "schedule")
        if self.name not in _BUILDERS:
            raise ValueError(unknown("schedule", self.name, _BUILDERS))
        durations = [(field, getattr(self, field)) for field in ("warmup", "period", "start")]
        durations += [("boundaries", boundary) for boundary in self.boundaries]
        for field, text in durations:
            try:
                duration(text, total_steps=1, steps_per_epoch=1)
            except ValueError as error:
                raise ValueError(f"schedule.{field}: {error}") from None
        check_range("schedule.warmup_start", self.warmup_start, 0.0)
        check_range("schedule.rate", self.rate, 0.0)
        check_range("schedule.t_mult", self.t_mult, 1.0)
        check_count("schedule.cycles", self.cycles, 1)
        check_range("schedule.final", self.final, 0.0)
        check_range("schedule.high", self.high, 0.0)
        for factor in self.factors:
            check_range("schedule.factors", factor, 0.0)
        if self.name == "swa" and not self.final:
            raise ValueError("schedule.final=0.0 stops a swa run where its average begins: give a share, such as 0.5")
        if self.name == "staircase" and len(self.factors) != 1:
            raise ValueError(f"schedule.factors={self.factors}; a staircase has one")
        if self.name == "step" and not self.boundaries:
            raise ValueError(
                "schedule.boundaries=() leaves a step schedule without a step: give one, such as ('50%',), or take "
                "name=constant"
            )
        if self.name == "step" and len(self.factors) not in (1, len(self.boundaries)):
            raise ValueError(
                f"schedule.factors={self.factors} for {len(self.boundaries)} boundaries; give one, or one for each"
            )

    def build(self, peak: float, total_steps: int, steps_per_epoch: int) -> Schedule:
        """The schedule of one run.

        Args:
            peak: the highest value, optimizer.learning_rate.
            total_steps: updates in the run.
            steps_per_epoch: updates in an epoch.

        Returns:
            updates done so far -> value.

        Raises:
            ValueError: the fields make no schedule for a run of this length.
        """
        self.validate()
        check_range("optimizer.learning_rate", peak, 0.0)

        def steps(text: str) -> int:
            return duration(text, total_steps=total_steps, steps_per_epoch=steps_per_epoch)

        warm = steps(self.warmup)
        if self.name in _LED and steps(self.start) >= total_steps > 0:
            raise ValueError(
                f"schedule.start={self.start!r} leaves nothing of a run of {total_steps} updates: begin earlier"
            )
        if warm >= total_steps > 0 and warm > 0:
            raise ValueError(
                f"schedule.warmup={self.warmup!r} leaves nothing of a run of {total_steps} updates: give fewer, or 0"
            )
        stays = self.name in _STAY_IN_PLACE
        schedule = _BUILDERS[self.name](self, peak, total_steps - (0 if stays else warm), steps)
        return schedules.warmup(schedule, warm, self.warmup_start * peak, shift=not stays)


Builder = Callable[[ScheduleConfig, float, int, Callable[[str], int]], Schedule]


def _step(c: ScheduleConfig, peak: float, total: int, steps: Callable[[str], int]) -> Schedule:
    del total
    boundaries = [steps(b) for b in c.boundaries]
    return schedules.step(peak, boundaries, c.factors * (len(boundaries) if len(c.factors) == 1 else 1))


def _swa(c: ScheduleConfig, peak: float, total: int, steps: Callable[[str], int]) -> Schedule:
    del total
    return _led(c, peak, c.final, schedules.constant(c.final * peak), steps)


def _fge_triangle(c: ScheduleConfig, peak: float, total: int, steps: Callable[[str], int]) -> Schedule:
    del total
    period = _period(c, steps)
    period -= period % 2 if c.period[-1:] in "p%" else 0  # epochs and shares make odd numbers by chance
    return _led(c, peak, c.high, schedules.fge_triangle(c.high * peak, c.final * peak, period), steps)


def _period(c: ScheduleConfig, steps: Callable[[str], int]) -> int:
    if (period := steps(c.period)) < 1:
        raise ValueError(f"schedule.period={c.period!r} is not one update long")
    return period


def _led(c: ScheduleConfig, peak: float, share: float, then: Schedule, steps: Callable[[str], int]) -> Schedule:
    """`then` from `start` on, behind the way from the peak to a share of it."""
    if not (start := steps(c.start)):
        return then
    return schedules.join([schedules.held_then_linear(peak, share * peak, start), then], [start])


_LED = ("swa", "fge_triangle")  # what begins at `start`

# Their boundaries, and the ends of cycles where snapshots are taken, are counted from the start of training.
_STAY_IN_PLACE = ("constant", "step", "snapshot_cosine", "swa", "fge_triangle")

_BUILDERS: dict[str, Builder] = {
    "constant": lambda c, peak, total, steps: schedules.constant(peak),
    "step": _step,
    "staircase": lambda c, peak, total, steps: schedules.staircase(peak, _period(c, steps), c.factors[0]),
    "exponential": lambda c, peak, total, steps: schedules.exponential(peak, c.rate / _period(c, steps)),
    "inverse_time": lambda c, peak, total, steps: schedules.inverse_time(peak, c.rate / _period(c, steps)),
    "inverse_sqrt": lambda c, peak, total, steps: schedules.inverse_sqrt(peak, c.rate / _period(c, steps)),
    "linear": lambda c, peak, total, steps: schedules.linear(peak, c.final * peak, total),
    "cosine": lambda c, peak, total, steps: schedules.cosine(peak, total, c.final * peak),
    "cosine_restarts": lambda c, peak, total, steps: schedules.cosine_restarts(
        peak, _period(c, steps), c.t_mult, c.final * peak
    ),
    "snapshot_cosine": lambda c, peak, total, steps: schedules.snapshot_cosine(peak, total, c.cycles),
    "swa": _swa,
    "fge_triangle": _fge_triangle,
}
