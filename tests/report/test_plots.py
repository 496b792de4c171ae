"""What is drawn of a run can be read."""

import itertools

import numpy as np
import pytest

from cs231n_jax.optim import schedules
from cs231n_jax.report import plots


@pytest.mark.parametrize("low", [2.2, 1.0, 2e-2, 2e-3, 3e-4, 1e-6, 1e-8, 1e-11])
def test_the_axis_of_the_loss_has_numbers_that_do_not_overlap(low, tmp_path, monkeypatch):
    figures = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: (figures.append(figure), save(figure, path))[1])
    lines = [{"split": "train", "step": i, "loss": value} for i, value in enumerate(np.geomspace(2.3, low, 9).tolist())]
    plots.curves(tmp_path / "curves.png", lines, schedules.constant(0.1), 9, [])
    axis = figures[0].axes[0]
    bottom, top = axis.get_ylim()
    ticks = [tick for tick in axis.yaxis.get_major_ticks() if bottom <= tick.get_loc() <= top]
    boxes = sorted((tick.label1.get_window_extent() for tick in ticks), key=lambda box: box.y0)
    assert len(boxes) >= 2
    assert all(below.y1 < above.y0 for below, above in itertools.pairwise(boxes))
    assert min(box.x0 for box in boxes) > 0
