"""Run the daily forecast inside a Prefect flow of your own, between tasks of your own.

`daily_forecast` becomes a subflow with its own tasks, retries and artifacts. A forecaster needs no Prefect, so it runs
in any task. Prints the state folder, which it leaves for other examples, and both forecasts of the last step. It uses
the newest 300 rows of each series: too few to train on, so the random walk is published.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

import polars as pl
from prefect import flow, task

from examples.prices import prices_of_command
from tidecast import GRUForecaster, daily_forecast
from tidecast.flows.config.settings import Settings


@task
def deliver(drop: Path, folder: Path) -> Path:
    """Bring the day's prices; yours may query a database or wait for a file."""
    return drop.rename(folder / "prices.parquet")


@task
def published(home: Path) -> pl.DataFrame:
    """Return the forecasts that the subflow published."""
    return pl.read_delta(str(home / "warehouse" / "forecasts"))


@task
def second_opinion(source: Path) -> pl.DataFrame:
    """Return the forecast of a network that you train yourself."""
    return GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0).fit(pl.read_parquet(source)).predict()


@flow
def nightly(drop: Path, folder: Path) -> pl.DataFrame:
    """Return both forecasts of the last step, the published one and your own."""
    source, home = deliver(drop, folder), folder / "state"
    daily_forecast(home=str(home), settings=Settings(source=str(source)))
    key = ["series_id", "origin", "step", "time"]
    both = published(home).join(second_opinion(source), on=key, suffix="_network")
    last = both.filter(pl.col("step") == pl.col("step").max()).sort("series_id")
    return last.select(*key, "forecast", "q0.05", "q0.95", "q0.05_network", "q0.95_network")


def main(prices: pl.DataFrame, folder: Path) -> tuple[Path, pl.DataFrame]:
    """Return the state folder, and both forecasts of the last step.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel of days with `series_id`, `time` and `close`.
    folder : Path
        Receives the prices and the state folder.

    Returns
    -------
    tuple of Path and polars.DataFrame
    """
    recent = prices.sort("series_id", "time").group_by("series_id", maintain_order=True).tail(300)
    recent.write_parquet(drop := folder / "drop.parquet")
    return folder / "state", nightly(drop, folder)


if __name__ == "__main__":
    result = main(prices_of_command(__doc__), Path(mkdtemp(prefix="tidecast-")))
    print(f"State folder: {result[0]}", result[1], sep="\n")
