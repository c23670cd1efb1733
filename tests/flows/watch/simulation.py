"""Sixty simulated days of a small panel, with faults: tables as the daily run stores them, without training."""

import argparse
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from tests.conftest import make_random_walks
from tidecast.features import PanelSchema
from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.warehouse.schema import TABLES
from tidecast.flows.watch.check import failed_runs, missed_runs
from tidecast.flows.watch.demotion import champion_worse, evidence_against
from tidecast.flows.watch.drift import drift
from tidecast.flows.watch.feed import missing_series, repeats, silence
from tidecast.flows.watch.finding import Finding
from tidecast.flows.watch.known import Known
from tidecast.flows.watch.volatility_jump import volatility_break
from tidecast.forecasting import RandomWalk
from tidecast.forecasting.evaluation.metrics import evaluate

SETTINGS = Settings(calendar="weekdays", lookback=32)
DAYS, HISTORY, SERIES = 60, 760, 8
SINCE = 30
"""The simulated day on which a fault begins."""


def panel(seed: int = 0, n_series: int = SERIES, last: date = date(2026, 3, 6)) -> pl.DataFrame:
    """Random walks of weekdays up to a day."""
    n_rows = HISTORY + DAYS
    start = last - timedelta(days=n_rows * 7 // 5 + 14)
    rows = make_random_walks(n_series, n_rows + 20, seed, start)
    days = rows["time"].unique().sort()
    return rows.filter(pl.col("time").is_in(days.filter(days <= last).tail(n_rows).implode()))


def days_of(prices: pl.DataFrame) -> list[date]:
    """The simulated days."""
    return prices["time"].unique().sort().tail(DAYS).to_list()


def with_break(prices: pl.DataFrame, since: date, factor: float = 4.0) -> pl.DataFrame:
    """Every return from a day on is larger by a factor."""
    returns = pl.col("close").log().diff().over("series_id")
    larger = pl.when(pl.col("time") >= since).then(factor * returns).otherwise(returns).fill_null(0.0)
    first = pl.col("close").first().over("series_id")
    return prices.with_columns(close=first * larger.cum_sum().over("series_id").exp())


def with_repeated_prices(prices: pl.DataFrame, since: date) -> pl.DataFrame:
    """Every price from a day on is that of the session before the day."""
    old = pl.when(pl.col("time") < since).then("close").forward_fill().over("series_id")
    return prices.with_columns(close=old)


def tables(prices: pl.DataFrame, model: str = "random_walk", width: float = 1.0, shift: float = 0.0) -> Known:
    """The tables after all days: the random walk forecasts, or a `model` that widens and shifts it."""
    days = days_of(prices)
    through = days[0] - timedelta(days=1)
    walk = RandomWalk(SETTINGS.horizon, SETTINGS.lookback, schema=PanelSchema(calendar="weekdays"))
    walk.fit(prices.filter(pl.col("time") <= through))
    table = walk.predict(prices, origins=days).with_columns(pl.col("step").cast(pl.Int64))
    issued = _moved(table, width, shift).with_columns(
        as_of="origin", model=pl.lit(model), run_id=pl.lit("r"), live=pl.lit(True), trained_through=pl.lit(through)
    )
    forecasts = TABLES["forecasts"].shape(issued)
    runs = [
        {"as_of": day, "status": "done", "champion": model, "trained_through": through, "training": "none",
         "started": close_of(day), "finished": close_of(day)}
        for day in days
    ]  # fmt: skip
    looks = [{"as_of": day, "at": close_of(day), "newest": day} for day in days]
    return Known(
        as_of=days[-1], prices=prices, forecasts=forecasts, scores=_scores(forecasts, table, prices),
        runs=_rows("runs", runs), decisions=_rows("decisions", []), flags=_rows("flags", []),
        quarantine=_rows("quarantine", []), looks=_rows("looks", looks),
        calendar=PanelCalendar(get_calendar("weekdays")), horizon=SETTINGS.horizon,
    )  # fmt: skip


def close_of(day: date, hours: float = 8) -> datetime:
    """When the run of a session starts: some hours after it closed, which is at midnight UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC) + timedelta(hours=hours)


def _moved(table: pl.DataFrame, width: float, shift: float) -> pl.DataFrame:
    names = [name for name in table.columns if name.startswith("q0.")]
    median = pl.col("forecast")
    spread = (pl.col("q0.95") / pl.col("q0.05")).log()
    move = (shift * spread).exp()
    return table.with_columns([(median * (pl.col(name) / median) ** width * move).alias(name) for name in names]
                              + [(median * move).alias("forecast")])  # fmt: skip


def _scores(forecasts: pl.DataFrame, walk: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    key = ["series_id", "origin", "step"]
    columns = [*key, "time", "forecast", *[name for name in walk.columns if name.startswith("q0.")]]
    own, of_walk = (evaluate(rows.select(columns), prices).losses.drop("model") for rows in (forecasts, walk))
    rows = forecasts.join(own, on=key).join(
        of_walk.select(*key, pl.col("crps", "ae").name.suffix("_random_walk")), on=key
    )
    truths = prices.select("series_id", "time", truth="close")
    return TABLES["scores"].shape(rows.join(truths, on=["series_id", "time"]))


def _rows(name: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    shaped = [TABLES[name].row(row) for row in rows]
    return pl.concat(shaped) if shaped else TABLES[name].row({}).clear()


def quick_findings(known: Known, day: date, now: datetime | None = None) -> list[Finding]:
    """The findings of a day that need neither a fit nor features."""
    here, now = known.until(day), now or close_of(day)
    return [
        *silence(here, now), *repeats(here), *missing_series(here), *volatility_break(here),
        *champion_worse(evidence_against(here)), *missed_runs(here), *failed_runs(here, now),
    ]  # fmt: skip


def main() -> None:
    """Count what is named on clean panels, and how soon breaks are."""
    parser = argparse.ArgumentParser(description="python -m tests.flows.watch.simulation [--panels 20]")
    parser.add_argument("--panels", type=int, default=20)
    alarms: Counter[str] = Counter()
    delays: dict[float, list[int]] = {2.0: [], 3.0: [], 4.0: []}
    n_panels = parser.parse_args().panels
    for seed in range(n_panels):
        prices = panel(seed)
        days = days_of(prices)
        clean = tables(prices)
        alarms.update({found.state for day in days for found in quick_findings(clean, day)})
        alarms.update(["drift"] if any(drift(clean.until(day)) for day in days[::10]) else [])
        for factor, found in delays.items():
            broken = replace(clean, prices=with_break(prices, days[SINCE], factor))
            late = [n for n, day in enumerate(days[SINCE : SINCE + 6]) if volatility_break(broken.until(day))]
            found.append(late[0] if late else 99)
    print(f"Of {n_panels} clean panels of {SERIES} series and {DAYS} days, with a finding: {dict(alarms) or 'none'}.")
    for factor, found in delays.items():
        named = [sum(delay <= limit for delay in found) for limit in (0, 1, 5)]
        print(f"Moves {factor:.0f} times as large, named: at once {named[0]}, next day {named[1]}, in 5 {named[2]}.")


if __name__ == "__main__":
    main()
