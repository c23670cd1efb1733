"""Where a panel lives and how it is treated, and what a day of it came to."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from tidecast.flows.publish.predict import Forecasts
    from tidecast.flows.tracking.registry import Champion, Registry
    from tidecast.flows.tracking.store import MlflowStore
    from tidecast.flows.tracking.training_runs import Tracking
    from tidecast.flows.tracking.tuning_runs import TuningRuns


@dataclass(frozen=True)
class Place:
    """A state folder and the settings in force: the way to its tables and its models.

    Parameters
    ----------
    home : StateFolder
    settings : Settings
    """

    home: StateFolder
    settings: Settings

    @property
    def warehouse(self) -> Warehouse:
        """The tables."""
        return Warehouse(self.settings.warehouse or self.home.warehouse_uri)

    def prices(self, as_of: date, version: int | None = None) -> pl.DataFrame:
        """The panel as models see it, with every covariate; see `Warehouse.prices`. One never known is missing."""
        return with_covariates(self.warehouse.prices(as_of, version, self.settings.static), self.settings)

    def run_of(self, as_of: date) -> dict[str, Any] | None:
        """The session's row of the table `runs`; None when there is none."""
        rows = self.warehouse.runs().filter(pl.col("as_of") == as_of).drop("year").to_dicts()
        return rows[0] if rows else None

    def is_done(self, as_of: date) -> bool:
        """Whether the session's run came to its end, with nothing failed."""
        row = self.run_of(as_of)
        return row is not None and row["status"] == "done"

    def tracking(self, say: Callable[[str], None] = lambda text: None) -> "Tracking":
        """What trainings leave in MLflow."""
        from tidecast.flows.tracking.training_runs import Tracking

        return Tracking(self._mlflow(say))

    def registry(self, say: Callable[[str], None] = lambda text: None) -> "Registry":
        """The registered versions, and which of them is champion."""
        from tidecast.flows.tracking.registry import Registry

        return Registry(self._mlflow(say), self.warehouse.decisions)

    def tuning_runs(self, say: Callable[[str], None] = lambda text: None) -> "TuningRuns":
        """What searches for settings leave in MLflow."""
        from tidecast.flows.tracking.tuning_runs import TuningRuns

        return TuningRuns(self._mlflow(say))

    def _mlflow(self, say: Callable[[str], None]) -> "MlflowStore":
        """MLflow, by the mlflow.yml of the working directory; importing it takes a second or two."""
        from tidecast.flows.config.mlflow_yml import load_mlflow_config
        from tidecast.flows.tracking.store import MlflowStore

        config, _ = load_mlflow_config(Path.cwd(), os.environ)
        return MlflowStore(self.home, config, os.environ, say)


def with_covariates(panel: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The panel with a column for each covariate and static column, null where nothing was ever known of it."""
    unknown = [name for name in (*settings.covariates, *settings.static) if name not in panel.columns]
    return panel.with_columns(pl.lit(None, pl.Float64).alias(name) for name in unknown)


@dataclass(frozen=True)
class Day:
    """What a run of one session came to.

    Attributes
    ----------
    place : Place
    as_of : date
    ingested : Ingested
    row : dict
        The session's row of the table `runs`.
    champion : Champion or None
        Who forecasts; None when the session was done before.
    forecasts : Forecasts or None
        None when it was published before.
    report : Path or None
    problems : tuple of str
        What failed, the publishing apart.
    """

    place: Place
    as_of: date
    ingested: Ingested
    row: dict[str, Any]
    champion: "Champion | None" = None
    forecasts: "Forecasts | None" = None
    report: Path | None = None
    problems: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """True when the session was done before, and nothing was left to do."""
        return self.champion is None


class Incomplete(TidecastError):
    """The forecasts are published, but a step failed. `day` is what there is."""

    def __init__(self, day: Day) -> None:
        first, *more = day.problems
        others = f" So did {len(more)} more of its steps." if more else ""
        end = "" if first.endswith((".", "!", "?", "…")) else "."
        super().__init__(
            f"The forecasts of {day.as_of} are published, but {first}{end}{others} Fix it, then run again."
        )
        self.day = day
