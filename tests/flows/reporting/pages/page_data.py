"""Data of a day's page for tests: random walks, forecast by the random walk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from html.parser import HTMLParser
from typing import Any

import polars as pl

from tests.conftest import make_random_walks
from tidecast.flows.reporting.pages.changes import Before
from tidecast.flows.reporting.pages.template import DATA_TAG
from tidecast.flows.reporting.report import ReportData
from tidecast.flows.reporting.watch_section import WatchData
from tidecast.flows.warehouse.schema import TABLES
from tidecast.forecasting.forecasters.baselines import RandomWalk

NO_SCORES = TABLES["scores"].row({}).clear()


def page_data(names: Sequence[str], horizon: int = 3, n_rows: int = 90, **changed: Any) -> ReportData:
    """A day with a session before it, of series with these names."""
    prices = make_random_walks(len(names), n_rows)
    made = prices["series_id"].unique(maintain_order=True).to_list()
    prices = prices.with_columns(pl.col("series_id").replace_strict(dict(zip(made, names, strict=True))))
    prices = prices.sort("series_id", "time")
    days = prices["time"].unique().sort()
    walk = RandomWalk(horizon=horizon, lookback=16).fit(prices.filter(pl.col("time") <= days[-10]))
    tables = [walk.predict(prices.filter(pl.col("time") <= day)).with_columns(as_of=pl.lit(day)) for day in days[-2:]]
    values: dict[str, Any] = {
        "as_of": days[-1], "champion": "random_walk", "version": "", "run_id": "", "trained_through": days[-10],
        "decision": {"reason": "No model earned it.", "verdict": None, "decision": None}, "gate_as_of": None,
        "evidence": None, "forecasts": tables[1], "prices": prices, "scores": NO_SCORES,
        "counts": dict.fromkeys(
            ("rows_in", "rows_stored", "rows_corrected", "rows_unchanged", "rows_quarantined"), 0
        ),
        "quarantined": {}, "left_out": {}, "source": "prices.csv", "settings_digest": "feedbeef",
        "before": Before(days[-2], "random_walk", "", tables[0]), "watched": watch_data(prices, days[-1]),
    }  # fmt: skip
    return ReportData(**values | changed)


def watch_data(prices: pl.DataFrame, as_of: date, findings: Sequence[dict[str, Any]] = ()) -> WatchData:
    """What a watch finds that has no record: widths of every series, twice as wide as usual."""
    names = prices["series_id"].unique().sort()
    numbers = {"width": 0.02, "of_random_walk": 1.0, "move": 0.0, "ratio": 2.0, "volatility": 0.69, "network": 0.0,
               "calibration": 0.0}  # fmt: skip
    widths = pl.DataFrame({"series_id": names}).with_columns(
        usual_day=pl.lit(as_of), days=60, **{name: pl.lit(value) for name, value in numbers.items()}
    )
    rules = pl.DataFrame(schema={"rule": pl.String, "kept": pl.String})
    return WatchData(findings, pl.DataFrame(), widths, pl.DataFrame(), rules)


def series_of(page: str) -> dict[str, Any]:
    """The JSON of a page."""
    text = page.partition(DATA_TAG)[2].partition("</script>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


class Outline(HTMLParser):
    """Tags of a page in order, with their attributes; and the texts of elements of the class "name"."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.names: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if "name" in (dict(attrs).get("class") or "").split():
            self._inside = tag
            self.names.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.names[-1] += data
