"""Figures without a screen."""

from typing import Any

from cs231n_jax.report.plots import save

__all__ = ["canvas", "save"]


def canvas(rows: int, columns: int, width: float = 5.0, height: float = 4.2) -> tuple[Any, list[Any]]:
    """A figure and its axes in reading order; width and height in inches, of one axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes
