"""One forecasting task as every library gets it: training series, then origins to forecast from. NumPy only.

A file holds it as arrays, so that libraries in environments of their own read the same numbers; each answers with
quantiles or points for every origin, and the CPU seconds that its training took.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

LEVELS = np.arange(1, 20) / 20


@dataclass(frozen=True)
class Task:
    """Series of one frequency that all end together.

    Attributes
    ----------
    name, freq : str
        `freq` as pandas spells it.
    horizon, lookback : int
    kind : {"prices", "values"}
        Prices are given to other libraries as log returns, and judged by their sums from the origin on.
    series : list of ndarray
        All rows, oldest first.
    held_out : int
        Rows at the end that nobody trains on.
    origins : ndarray of int
        Rows before the end from which is forecast: 48 is the 49th last row.
    """

    name: str
    freq: str
    horizon: int
    lookback: int
    kind: str
    series: list[np.ndarray]
    held_out: int
    origins: np.ndarray

    @property
    def plain(self) -> list[np.ndarray]:
        """The series as other libraries get them."""
        return [np.diff(np.log(values)) for values in self.series] if self.kind == "prices" else self.series

    def earlier(self) -> "Task":
        """The same task on the training rows alone, as many of their newest held out: to choose settings on."""
        return replace(self, series=[values[: len(values) - self.held_out] for values in self.series])

    def training(self) -> list[np.ndarray]:
        """The rows to train on, as other libraries get them."""
        return [values[: len(values) - self.held_out] for values in self.plain]

    def histories(self) -> list[tuple[int, int, np.ndarray]]:
        """Series, origin and all rows up to it, in the order of the answers."""
        return [
            (number, origin, values[: len(values) - origin])
            for origin in self.origins.tolist()
            for number, values in enumerate(self.plain)
        ]

    def truths(self) -> np.ndarray:
        """True values, of shape (n_histories, horizon); prices as log returns from the origin on."""
        levels = [np.log(values) for values in self.series] if self.kind == "prices" else self.series
        rows = []
        for number, origin, _ in self.histories():
            level, at = levels[number], len(levels[number]) - 1 - origin
            rows.append(level[at + 1 : at + 1 + self.horizon] - (level[at] if self.kind == "prices" else 0.0))
        return np.array(rows)

    def scales(self) -> np.ndarray:
        """Mean absolute change of each history's series over its training rows, to pool losses by."""
        levels = [np.log(values) for values in self.series] if self.kind == "prices" else self.series
        change = [np.abs(np.diff(level[: len(level) - self.held_out])).mean() for level in levels]
        return np.array([change[number] for number, _, _ in self.histories()])

    def loss(self, answer: np.ndarray, metric: str) -> float:
        """Mean loss ("mae", "rmse", "crps") of an answer: points (n, horizon), or quantiles (n, horizon, 19 or 1).

        Of quantiles the median is the point for absolute errors, their mean that for squared ones; the CRPS of a point
        is its absolute error.
        """
        if answer.ndim == 3 and metric != "crps":
            answer = answer[..., answer.shape[-1] // 2] if metric == "mae" else answer.mean(-1)
        error = self.truths()[..., None] - answer.reshape(len(answer), self.horizon, -1)
        error = error / self.scales()[:, None, None]
        if metric == "mae":
            return float(np.abs(error).mean())
        if metric == "rmse":
            return float(np.sqrt((error**2).mean()))
        return float(2 * np.maximum(LEVELS * error, (LEVELS - 1) * error).mean())

    def save(self, path: Path) -> None:
        """Write the task."""
        meta = {name: getattr(self, name) for name in ("name", "freq", "horizon", "lookback", "kind", "held_out")}
        series = {f"series_{number:05d}": values for number, values in enumerate(self.series)}
        np.savez(path, meta=json.dumps(meta), origins=self.origins, **series)

    @classmethod
    def load(cls, path: Path) -> "Task":
        """Read a task."""
        with np.load(path) as arrays:
            series = [arrays[name] for name in sorted(arrays.files) if name.startswith("series_")]
            return cls(**json.loads(str(arrays["meta"])), series=series, origins=arrays["origins"])


def answer_with(fit, forecast, curve=None) -> None:
    """Main of a library's script: ``script.py task.npz answer.npz options`` (JSON); only `fit` is timed.

    `curve` yields epochs, CPU seconds and the answer from what the model was on the way, once the end's is taken.
    """
    task, options = Task.load(Path(sys.argv[1])), json.loads(sys.argv[3])
    started = time.process_time()
    model = fit(task, options)
    seconds = time.process_time() - started
    found = {"answer": forecast(task, model, options), "seconds": seconds}
    if curve:
        epochs, after, answers = zip(*curve(task, model, options), strict=True)
        found |= {"curve_epochs": epochs, "curve_seconds": after, "curve_answers": answers}
    np.savez(sys.argv[2], **found)
