"""All series of a page as one compact block of JSON, from which its script draws fans, rows and search results.

Prices are whole numbers in units of 10^-digits of their series, one digit finer than what is shown: a forecast as the
difference from the last price, a price of the past as the difference from the price before. Days are numbers since
1970-01-01; of a list of days all but the first are differences. So 5,000 series of 5 steps with 19 quantiles take
about 4 MB.

==============  ========================================================================================================
key             content
==============  ========================================================================================================
steps, levels   of the forecasts, in rising order; `spans`: positions of the lower and upper ends, widest interval first
names           of the series, in rising order; every list below has an entry for each
digits, last    unit and last price
past, pastDays  newest prices; which of the lists in `dayLists` has their days
ahead           which of `dayLists` has the days of the steps; -1 without a forecast
forecast        step by step, all levels; null without a forecast
facts           `moved`, `width`, `ratio`, `skill`, `coverage` and the `parts` of `ratio`, in per cent, or null
marks, reason   positions in `markNames` and in `reasons`; -1 if forecast
rank            0 for the series most worth a look
==============  ========================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.segments import series_starts
from tidecast.flows.redaction import redact
from tidecast.flows.reporting.pages.number_text import digits_of
from tidecast.flows.reporting.pages.series_table import PARTS, mark_order
from tidecast.forecasting.plotting.tables import bands
from tidecast.forecasting.tables.quantiles import level_of, levels_in

HISTORY = 60
"""Prices of each series."""

MOST_NUMBERS = 700_000
"""Forecast values in a page; beyond it, fewer levels and then fewer steps are in it."""

FACTS = ("moved", "width", "ratio", "skill", "coverage")
FEWEST_STEPS = 5


def series_json(table: pl.DataFrame, forecasts: pl.DataFrame, recent: pl.DataFrame) -> str:
    """Return the series of a page as JSON that a script element may hold.

    Parameters
    ----------
    table : polars.DataFrame
        As of `series_table`.
    forecasts : polars.DataFrame
        The published table of the session.
    recent : polars.DataFrame
        As of `newest_rows`.

    Returns
    -------
    str
        See the module's table. Secrets in names are hidden.
    """
    return _escaped(json.dumps(series_values(table, forecasts, recent), ensure_ascii=False, separators=(",", ":")))


def series_values(table: pl.DataFrame, forecasts: pl.DataFrame, recent: pl.DataFrame) -> dict[str, Any]:
    """Return the content of the JSON; parameters as of `series_json`.

    Parameters
    ----------
    table, forecasts, recent : polars.DataFrame
    """
    names = table["series_id"].to_list()
    steps, columns = chosen(forecasts)
    digits = _digits(forecasts, dict(table.select("series_id", "last").iter_rows()))
    units = [10.0 ** digits.get(name, 0) for name in names]
    lists = _DayLists()
    past = _by_series(recent.group_by("series_id", maintain_order=True).tail(HISTORY), ["close"])
    ahead = _by_series(forecasts.filter(pl.col("step").is_in(steps)).sort("series_id", "step"), columns)
    last = [None if price is None else _whole(price, unit) for price, unit in zip(table["last"], units, strict=True)]
    marks, reasons = mark_order(table), table["reason"].drop_nulls().unique().sort().to_list()
    spans = [[columns.index(low), columns.index(high)] for low, high in bands(forecasts)]
    return {
        "steps": steps, "levels": [level_of(name) for name in columns], "spans": spans,
        "names": _redacted([str(name) for name in names]),
        "digits": [digits.get(name, 0) for name in names],
        "last": last,
        "past": [_past(past.get(name), unit) for name, unit in zip(names, units, strict=True)],
        "pastDays": [lists.place(past[name][0]) if name in past else -1 for name in names],
        "ahead": [lists.place(ahead[name][0]) if name in ahead else -1 for name in names],
        "forecast": [_ahead(ahead.get(name), unit, here) for name, unit, here in zip(names, units, last, strict=True)],
        "dayLists": lists.found,
        "facts": {name: _percent(table[name], name == "ratio") for name in FACTS} | {"parts": _parts(table)},
        "markNames": marks,
        "marks": [[marks.index(mark) for mark in own] for own in table["marks"].to_list()],
        "rank": table["rank"].to_list(),
        "reasons": _redacted(reasons),
        "reason": [-1 if reason is None else reasons.index(reason) for reason in table["reason"]],
    }  # fmt: skip


def chosen(forecasts: pl.DataFrame) -> tuple[list[int], list[str]]:
    """Return the steps and the columns that a page holds: all, if they are not too many numbers for it.

    Else the median and both intervals of all steps, or of as many as fit, evenly spaced.

    Parameters
    ----------
    forecasts : polars.DataFrame
        The published table of the session.
    """
    steps = [int(step) for step in forecasts["step"].unique().sort().to_list()]
    columns = ["forecast" if level == 0.5 else f"q{level!r}" for level in levels_in(forecasts.columns)]
    n_series = max(forecasts["series_id"].n_unique(), 1)
    if n_series * len(steps) * len(columns) > MOST_NUMBERS:
        ends = {name for span in bands(forecasts) for name in span}
        columns = [name for name in columns if name in ends or name == "forecast"]
        most = max(FEWEST_STEPS, MOST_NUMBERS // (n_series * len(columns)))
        steps = evenly(steps, most)
    return steps, columns


def evenly(steps: Sequence[int], most: int) -> list[int]:
    """Return all steps if they are not too many, else that many, evenly spaced from the first to the last.

    Parameters
    ----------
    steps : sequence of int
    most : int
        At least 2.

    Examples
    --------
    >>> evenly(range(1, 22), 5)
    [1, 6, 11, 16, 21]
    """
    if len(steps) <= most:
        return list(steps)
    return [steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most)]


class _DayLists:
    """Lists of days, each once."""

    def __init__(self) -> None:
        self.found: list[list[int]] = []
        self._places: dict[tuple[int, ...], int] = {}

    def place(self, days: Sequence[int]) -> int:
        key = tuple(days)
        if key not in self._places:
            self._places[key] = len(self.found)
            self.found.append([*key[:1], *(b - a for a, b in pairwise(key))])
        return self._places[key]


def _by_series(rows: pl.DataFrame, columns: list[str]) -> dict[Any, tuple[list[int], np.ndarray]]:
    """Days since 1970 and values of each series; rows are sorted by series."""
    starts = series_starts(rows)
    ends = [*starts[1:], rows.height]
    days = rows["time"].cast(pl.Date).cast(pl.Int32).to_list()
    values, names = rows.select(columns).to_numpy(), rows["series_id"].gather(starts).to_list()
    pieces = zip(names, starts, ends, strict=True)
    return {name: (days[low:high], values[low:high]) for name, low, high in pieces}


def _digits(forecasts: pl.DataFrame, last: dict[Any, float | None]) -> dict[Any, int]:
    """Decimals of each series' whole numbers, one more than the page shows."""
    spans = bands(forecasts)
    first = forecasts.filter(pl.col("step") == pl.col("step").min().over("series_id"))
    width = pl.col(spans[-1][1]) - pl.col(spans[-1][0]) if spans else pl.lit(0.0)
    widths = first.select("series_id", width).iter_rows()
    shown = {name: digits_of(wide, last[name] or 0.0) + 1 for name, wide in widths}
    rest = {name: digits_of(0.0, price) + 1 for name, price in last.items() if price is not None}
    return rest | shown


def _whole(value: float, unit: float) -> int:
    return round(float(value) * unit)


def _past(found: tuple[list[int], np.ndarray] | None, unit: float) -> list[int]:
    """The first price, then differences."""
    if found is None:
        return []
    whole = [round(value) for value in (found[1][:, 0] * unit).tolist()]
    return [*whole[:1], *(b - a for a, b in pairwise(whole))]


def _ahead(found: tuple[list[int], np.ndarray] | None, unit: float, last: int | None) -> list[int] | None:
    """Differences from the last price, step by step."""
    if found is None or last is None:
        return None
    return [round(value) - last for value in (found[1] * unit).ravel().tolist()]


def _percent(values: pl.Series, is_ratio: bool) -> list[float | None]:
    """Per cent with two decimals; of a ratio, the change."""
    shift = 1.0 if is_ratio else 0.0
    return [None if value is None or not math.isfinite(value) else round(100 * (value - shift), 2) for value in values]


def _parts(table: pl.DataFrame) -> list[list[int] | None]:
    """Changes of the width's three parts, in per cent."""
    rows = table.select(PARTS).iter_rows()
    return [None if None in row else [round(100 * math.expm1(min(part, 20.0))) for part in row] for row in rows]


def _redacted(texts: list[str]) -> list[str]:
    """The texts without secrets. All at once, because each call looks at the environment."""
    try:
        found = json.loads(redact(json.dumps(texts, ensure_ascii=False)))
    except ValueError:
        found = None
    fits = isinstance(found, list) and len(found) == len(texts) and all(isinstance(text, str) for text in found)
    return list(found) if fits and found is not None else [redact(text) for text in texts]


def _escaped(text: str) -> str:
    """JSON in which nothing can end a script element or begin a comment in it; it reads as before."""
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def days_of(numbers: Sequence[int]) -> list[date]:
    """Return the days of one of the lists in `dayLists`.

    Parameters
    ----------
    numbers : sequence of int
        As the JSON has them.

    Examples
    --------
    >>> days_of([20784, 3])
    [datetime.date(2026, 11, 27), datetime.date(2026, 11, 30)]
    """
    return [date.fromordinal(int(day) + date(1970, 1, 1).toordinal()) for day in np.cumsum(numbers)]
