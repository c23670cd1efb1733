"""Our own forecaster on the same task, with the cell, width and layers of the library it is compared with."""

import numpy as np
import polars as pl
import torch
from task import answer_with

from tidecast import forecasting
from tidecast.features import PanelSchema


def panel(task, series):
    """Long table of the series; all end at the same time."""
    freq = {"h": "1h", "B": "1d"}[task.freq]
    end = pl.datetime(2020, 1, 1) if task.freq == "h" else pl.date(2020, 1, 1)
    parts = []
    for number, values in enumerate(series):
        n = len(values)
        rows = pl.select(time=(end - pl.duration(hours=1) * pl.int_range(n, 0, -1)) if freq == "1h" else sessions(n))
        parts.append(rows.with_columns(series_id=pl.lit(f"{number:05d}"), close=pl.Series(values)))
    return pl.concat(parts)


def sessions(n):
    """The last `n` weekdays of 2019."""
    days = pl.date_range(pl.date(1980, 1, 1), pl.date(2019, 12, 31), eager=True)
    return days.filter(days.dt.weekday() <= 5).tail(n)


def fit(task, options):
    options = dict(options)
    model_class = getattr(forecasting, options.pop("class", "LSTMForecaster"))
    season, week = options.pop("season", None), options.pop("week", True)
    options |= options.pop("baseline", {})
    torch.set_num_threads(1)
    if season:
        from season import SeasonalInputs

        options["features"] = SeasonalInputs(season, ahead=task.horizon if week else 0)
    schema = PanelSchema(positive=task.kind == "prices")
    model = model_class(horizon=task.horizon, lookback=task.lookback, schema=schema, **options)
    return model.fit(panel(task, [values[: len(values) - task.held_out] for values in task.series]))


def forecast(task, model, options):
    whole = panel(task, task.series)
    times = whole["time"].unique().sort()
    wanted = [times[len(times) - 1 - origin] for origin in task.origins.tolist()]
    table = model.predict(whole, origins=wanted)
    names = sorted((name for name in table.columns if name[0] == "q"), key=lambda name: float(name[1:]))
    names = [*names[: len(names) // 2], "forecast", *names[len(names) // 2 :]]
    last = whole.select("series_id", origin="time", last="close")
    place = {time: k for k, time in enumerate(wanted)}
    table = table.join(last, on=["series_id", "origin"], maintain_order="left")
    table = table.with_columns(order=pl.col("origin").replace_strict(place)).sort("order", "series_id", "step")
    values = table.select(names).to_numpy()
    if task.kind == "prices":
        values = np.log(values / table["last"].to_numpy()[:, None])
    return values.reshape(-1, task.horizon, len(names))


answer_with(fit, forecast)
