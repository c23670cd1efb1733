"""Pictures of a search for settings: its history, and the importance of each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from tidecast.features.error_text import counted
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import new_figure, zero
from tidecast.forecasting.plotting.palette import BLUE, INK, ORANGE
from tidecast.forecasting.tuning.result import TrialRecord


def optimisation_history(trials: Sequence[TrialRecord]) -> Picture:
    """Skill of every complete trial by number, and the best so far.

    Parameters
    ----------
    trials : sequence of TrialRecord
        At least one of them is complete.

    Returns
    -------
    Picture
    """
    figure, (chart,) = new_figure(1, 1, height=3.2)
    complete = [(trial.number, 100 * trial.skill) for trial in trials if trial.skill is not None]
    numbers, skills = zip(*complete, strict=True)
    chart.plot(numbers, skills, "o", color=BLUE, markersize=4, alpha=0.6)
    best = np.maximum.accumulate(skills)
    last = max(trial.number for trial in trials)
    chart.step([*numbers, last], [*best, best[-1]], where="post", color=BLUE, linewidth=1.6)
    chart.plot(numbers[:1], skills[:1], "o", color=ORANGE, markersize=6)
    low, high = np.quantile(skills, [0.1, 1.0])
    room = max(high - low, 0.05)
    far = min(low, 0.0) - room  # a trial below is an outlier, which would hide the differences between the others
    bottom = min(0.0, *(skill for skill in skills if skill >= far)) - 0.1 * room
    chart.set_ylim(bottom, max(high, 0.0) + 0.15 * room)
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number in (trial.number for trial in trials if trial.state == "pruned"):
        chart.plot([number], [0.02], "|", color=INK, markersize=6, transform=chart.get_xaxis_transform())
    zero(chart, "random walk")
    chart.set_xlabel("trial")
    chart.set_ylabel("skill against the random walk, %")
    worse = sum(skill < bottom for skill in skills)
    below = f" {counted(worse, 'very bad trial lies', 'very bad trials lie')} below the chart." if worse else ""
    reading = (
        "Dots: complete trials. Line: the best so far. Orange: the default settings. Ticks at the bottom: pruned "
        f"trials. The best of many trials looks better than it is.{below}"
    )
    return Picture("History of the search", reading, figure)


def importances(shares: Mapping[str, float]) -> Picture:
    """Share of the variation of the loss that each setting explains.

    Parameters
    ----------
    shares : mapping
        From a setting to its share; the shares sum up to 1.

    Returns
    -------
    Picture
    """
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure, (chart,) = new_figure(1, 1, height=0.6 + 0.28 * len(ordered))
    names = [name.replace("_", " ") for name, _ in ordered]
    values = [100 * share for _, share in ordered]
    chart.barh(names, values, color=BLUE, height=0.6)
    for position, value in enumerate(values):
        chart.annotate(
            f"{value:.0f}", (value, position), (4, 0), textcoords="offset points", va="center", size=8, color=INK
        )
    chart.set_xlabel("share of the variation between trials, %")
    chart.set_xlim(0, max(100.0 * max(shares.values()) * 1.1, 1.0))
    reading = "The longer the bar, the more the loss of complete trials depends on the setting."
    return Picture("Which settings matter", reading, figure)
