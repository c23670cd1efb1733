"""Use what is known before its session: a covariate of each day, and events with the day they became known.

The covariate is the number of days to the end of the month. The events stand for US labour market reports: each first
Friday, announced a year ahead. Read your own from tables with the same columns (docs/events.md). Prints what each
series knew on its newest row, and the forecast.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from examples.prices import prices_of_command
from tidecast import GRUForecaster, PanelSchema, with_events, with_future
from tidecast.features.frames import to_polars

HORIZON = 5
SCHEMA = PanelSchema(future=("days_to_month_end",)).with_events("jobs_report")


def main(prices: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what was known on the newest rows, and the forecast.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel of days with `series_id`, `time` and `close`.

    Returns
    -------
    tuple of polars.DataFrame
    """
    first, last = prices.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    days = pl.DataFrame({"time": pl.date_range(first, last + timedelta(days=4 * HORIZON), eager=True)})
    to_month_end = (pl.col("time").dt.month_end() - pl.col("time")).dt.total_days().cast(pl.Float64)
    covariate = days.with_columns(days_to_month_end=to_month_end)
    first_fridays = days.filter(pl.col("time").dt.weekday() == 5, pl.col("time").dt.day() <= 7)
    reports = first_fridays.with_columns(kind=pl.lit("jobs_report"), known_at=pl.col("time").dt.offset_by("-1y"))
    panel = to_polars(with_events(with_future(prices, covariate, HORIZON, SCHEMA), reports, HORIZON, SCHEMA))
    model = GRUForecaster(horizon=HORIZON, lookback=32, schema=SCHEMA, max_epochs=2, random_state=0).fit(panel)
    known = ["days_to_month_end", "days_to_month_end_ahead", "jobs_report_ahead", "sessions_to_jobs_report"]
    newest = panel.sort("time").group_by("series_id").last().sort("series_id")
    return newest.select("series_id", "time", *known), model.predict(panel)


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(*result, sep="\n")
