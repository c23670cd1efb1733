"""The tables of one panel: those of prices (`price_tables`), and what was made of them and published."""

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

import polars as pl

from tidecast.flows.errors import WarehouseError
from tidecast.flows.warehouse.price_tables import PriceTables
from tidecast.flows.warehouse.schema import (
    DECISION_KEY,
    FEATURE_KEY,
    FORECAST_KEY,
    RUNS,
    TABLES,
    check_forecasts,
)

READ = "read"
"""What a commit of forecasts says about itself: their as_of, and the versions of the tables they were made from."""


class Warehouse(PriceTables):
    """The tables of one panel. A read takes one version of a table: the newest, or, where it can be given, `version`.

    Parameters
    ----------
    uri : str
        Folder, or address of an object store; see `tidecast.flows.warehouse.delta_writer.DeltaTables`.

    Raises
    ------
    SettingsError
        On connecting: the folder's path holds what Delta Lake cannot have in it, or a variable is not set.
    WarehouseError
        On reading a `version` that never was, or whose files were removed by a vacuum.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri, {name: spec.columns for name, spec in TABLES.items()})

    # reading

    def oldest_news(self, since: date, as_of: date) -> date | None:
        """The oldest session of the prices and actions known by `as_of` of which features built on `since` cannot have
        known; None without any. What was stored after that build counts, however early it says that it was known."""
        read, oldest = self.features_read(), list[date | None]()
        known = (pl.col("time") <= as_of) & (pl.col("known_at") <= as_of)
        for name in ("prices", "actions"):
            later = self._scan(name, spans=[(date.min, as_of)]).filter(
                (pl.col("time") > since) | (pl.col("known_at") > since), known
            )
            added = self._added(name, read.get(name, 0)).filter(known)
            oldest += [self._read(rows.select(pl.col("time").min()), name).item() for rows in (later, added)]
        return min((day for day in oldest if day), default=None)

    def newest_seen(self) -> date | None:
        """The newest `as_of` the panel has seen, None before its first run."""
        asked = (("prices", "known_at"), ("prices", "as_of"), ("runs", "as_of"))
        return max((day for day in (self._extreme(*what) for what in asked) if day), default=None)

    def features(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """The default features of every session up to `as_of`, sorted by series_id and time; a copy for people.

        Raises
        ------
        WarehouseError
            The table was built on a session after `as_of`, and may hold corrections that were not known by then.
        """
        rows = self._read(self._scan("features", version), "features", version).sort(FEATURE_KEY)
        built = rows["as_of"].max()
        if as_of is not None and isinstance(built, date) and built > as_of:
            raise WarehouseError(
                f"Features must be asked for {built}, on which they were built last, or a later session, got {as_of}: "
                "they follow corrections made since. Compute those of that day: "
                "PriceFeatures().fit_transform(warehouse.prices(as_of))."
            )
        return rows

    def features_built(self) -> date | None:
        """The last session on which a row of `features` was written; None before the first."""
        built: date | None = self._extreme("features", "as_of")
        return built

    def features_read(self) -> dict[str, int]:
        """The versions of the tables that `features` was computed from last; empty before the first build."""
        notes = self._notes("features", READ)
        return notes[0]["versions"] if notes else {}

    def features_from(self, first: date) -> pl.DataFrame:
        """The rows of `features` from `first` on, in no order."""
        return self._read(self._scan("features", spans=[(first, date.max)]), "features")

    def forecasts(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Published forecasts, of one `as_of` or of all, sorted by as_of, series_id and step."""
        return self._of("forecasts", as_of, version).sort("as_of", "series_id", "step")

    def scores(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Scores of the forecasts published at one `as_of`, or of all."""
        return self._of("scores", as_of, version).sort("as_of", "series_id", "step")

    def runs(self, version: int | None = None) -> pl.DataFrame:
        """One row per `as_of`, oldest first."""
        return self._of("runs", None, version).sort("as_of")

    def decisions(self, version: int | None = None) -> pl.DataFrame:
        """Who became champion and why, in the order it was decided."""
        rows = TABLES["decisions"].with_current_names(self._of("decisions", None, version))
        return rows.sort("at", "decision")

    def panel(self) -> pl.DataFrame:
        """What the panel is, from each session on that changed it, oldest first; see `panel_identity`."""
        return self._of("panel", None).sort("as_of")

    def has_published(self) -> bool:
        """Whether a forecast was ever published here: from then on a panel stays what it is."""
        return any(self._extreme(name, "as_of") is not None for name in ("forecasts", "runs"))

    # writing

    def clear_prices(self) -> None:
        """Take out prices, actions, features and what is in quarantine, a commit each; earlier versions keep them."""
        for name in ("flags", "repairs", "quarantine", "features", "actions", "prices"):
            self._commit(name, partial(self._delete, name))

    def store_features(self, rows: pl.DataFrame, read: Mapping[str, int] | None = None) -> int:
        """Store new rows of features, and changed ones in the place of those there, in one commit; returns how many.

        `read` are the versions of the tables that they were computed from; kept with the commit, see `features_read`.
        """
        rows = TABLES["features"].shape(rows)
        values = [name for name in rows.columns if name not in ("series_id", "time", "year")]
        notes = {READ: {"versions": dict(read or {})}}
        return self._merge("features", rows, FEATURE_KEY, replace=values, day="time", notes=notes)

    def publish(
        self, as_of: date, forecasts: pl.DataFrame, reissue: bool = False, read: Mapping[str, int] | None = None
    ) -> bool:
        """Publish all forecasts of one `as_of`, in one commit; returns whether anything was written.

        An issued `as_of` never changes: when it is there, nothing is done. With `reissue` it is replaced, and its
        scores, which judged the replaced forecasts, go first; killed in between, the next run scores what is there.

        Parameters
        ----------
        as_of : date
            The session the forecasts stand on.
        forecasts : polars.DataFrame
            series_id, step, origin, time, forecast, quantile columns, model, run_id, live, trained_through; dates.
        reissue : bool, default=False
            Replace what was issued.
        read : mapping of str to int, optional
            The versions of the tables that they were made from; kept with the commit, see `read_by`.

        Raises
        ------
        WarehouseError
            Nothing to publish, a row twice, values that are not finite, an origin after `as_of`, a model that has seen
            more than the rows up to its forecasts' origins.
        """
        rows = TABLES["forecasts"].shape(forecasts.with_columns(as_of=pl.lit(as_of)))
        check_forecasts(as_of, rows)

        def done(issued: pl.DataFrame) -> bool:
            return not issued.is_empty() and (not reissue or issued.sort(FORECAST_KEY).equals(rows))

        if reissue and not done(self.forecasts(as_of)) and not self.scores(as_of).is_empty():
            self._commit("scores", lambda: self._delete("scores", as_of))
        notes = {READ: {"as_of": as_of.isoformat(), "versions": dict(read or {})}}
        return self._replace("forecasts", rows, as_of, done, notes=notes)

    def read_by(self, as_of: date | None = None) -> list[dict[str, int]]:
        """The versions of the tables that the forecasts of an `as_of`, or of any, were made from; the newest first."""
        notes = self._notes("forecasts", READ)
        return [note["versions"] for note in notes if as_of is None or note["as_of"] == as_of.isoformat()]

    def store_scores(self, rows: pl.DataFrame) -> int:
        """Store scores, those that were measured anew in the place of those there, in one commit; returns how many."""
        rows = TABLES["scores"].shape(rows)
        values = [name for name in rows.columns if name not in (*FORECAST_KEY, "year")]
        return self._merge("scores", rows, FORECAST_KEY, replace=values, day="as_of")

    def store_decision(self, row: Mapping[str, Any]) -> int:
        """Store one decision, in one commit; one that is there stays as it is. What is not known of it is null."""
        return self._merge("decisions", TABLES["decisions"].row(row), DECISION_KEY)

    def put_panel(self, row: Mapping[str, Any]) -> None:
        """Write what the panel is from `as_of` on, in one commit: as_of, panel, settings."""
        new = TABLES["panel"].row(row)
        self._replace("panel", new, row["as_of"], lambda there: there.equals(new))

    def put_run(self, row: Mapping[str, Any]) -> None:
        """Write the one row of a run's `as_of`, replacing what is there, in one commit; nothing when nothing differs.

        Rows that agree in all but run_id, started and finished do not differ: a rerun that finds everything done leaves
        no trace.

        Parameters
        ----------
        row : mapping
            as_of and status, and what else is known of the columns of `runs`; the others become null.

        Raises
        ------
        WarehouseError
            An unknown column, or no as_of or status.
        """
        names = [name for name in RUNS if name != "year"]
        if not set(row) <= set(names) or row.get("as_of") is None or row.get("status") is None:
            raise WarehouseError(f"A run must have as_of and status, and may have of {names}; got {sorted(row)}.")
        new = TABLES["runs"].row(row)
        clock = ("run_id", "started", "finished")
        self._replace("runs", new, row["as_of"], lambda there: there.drop(clock).equals(new.drop(clock)), row["status"])

    def _of(self, name: str, as_of: date | None, version: int | None = None) -> pl.DataFrame:
        spans = None if as_of is None else [(as_of, as_of)]
        return self._read(self._scan(name, version, "as_of", spans), name, version)
