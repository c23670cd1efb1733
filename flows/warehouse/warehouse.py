"""The tables of one panel: prices (`price_tables`), features, forecasts, scores, runs, decisions."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from tidecast.features.error_text import ended
from tidecast.flows.errors import WarehouseError
from tidecast.flows.log import log
from tidecast.flows.warehouse.bucket import TablesReference, in_buckets, may_be_several
from tidecast.flows.warehouse.price_tables import PriceTables
from tidecast.flows.warehouse.schema import (
    DECISION_KEY,
    FEATURE_KEY,
    FORECAST_KEY,
    RUNS,
    TABLES,
    check_forecasts,
    empty_in,
)
from tidecast.forecasting.estimator.mapped_frame import UnmappableError, mapped_frame

READ = "read"
"""Note of a commit: the versions of the tables that its rows were computed from, and the as_of of forecasts."""


RANGES = ("open", "high", "low", "volume")
"""Columns that only models read."""

LOOK_AGAIN = timedelta(hours=1)
"""After which a look at the source counts, also if it finds what the last one found."""


class Warehouse(PriceTables):
    """The tables of one panel. A read takes the newest version of a table, or `version`.

    Parameters
    ----------
    uri : str
        Folder, or address of an object store; see `tidecast.flows.warehouse.delta_writer.DeltaTables`.
    part : TablesReference, optional
        Read fixed versions, and only the series that it names, if any; see
        `tidecast.flows.warehouse.delta_reader.DeltaReader`.

    Raises
    ------
    SettingsError
        On connecting: Delta Lake cannot handle the folder's path, or a variable is not set.
    WarehouseError
        On reading a `version` that does not exist, or whose files were removed by a vacuum.
    """

    def __init__(self, uri: str, part: TablesReference | None = None) -> None:
        super().__init__(uri, {name: spec.columns for name, spec in TABLES.items()}, part)

    # reading

    def is_large(self) -> bool:
        """Whether the panel may be more than one bucket of series; it takes no reading of rows."""
        return may_be_several(self.height("prices"))

    _newest_closes: tuple[object, pl.DataFrame] | None = None

    def closes(self, as_of: date) -> pl.DataFrame:
        """Return the panel as `prices` does, without open, high, low and volume.

        It is made of the panel that was read last, if that is the same one. Of a large panel, these columns are not
        read.

        Parameters
        ----------
        as_of : date
        """
        key = as_of, self._state("prices"), self._state("actions")
        if (self._newest_panel is not None and self._newest_panel[0] == key) or not self.is_large():
            return self.prices(as_of).drop(RANGES, strict=False)
        if self._newest_closes is None or self._newest_closes[0] != key:
            self._newest_closes = None
            columns = [name for name in self.columns(as_of) if name not in RANGES]
            self._newest_closes = key, self._by_bucket(as_of, self.versions(("prices", "actions")), columns)
        return self._newest_closes[1]

    def _panel(self, as_of: date | None, version: int | None) -> pl.DataFrame:
        """The panel of `prices`; a large one bucket by bucket, so that its rows are never in memory together."""
        if as_of is None or self._bucket is not None or not self.is_large():
            return super()._panel(as_of, version)
        versions = self.versions(("prices", "actions"))
        versions |= {} if version is None else {"prices": version}
        return self._by_bucket(as_of, versions, self.columns(as_of, version))

    def _by_bucket(self, as_of: date, versions: Mapping[str, int], columns: Sequence[str]) -> pl.DataFrame:
        """The panel with those of these columns that have a value, in temporary files; in memory if they cannot be."""
        buckets = in_buckets(self.series(as_of, version=versions["prices"]))
        parts = (self.reference(bucket, versions, columns) for bucket in buckets)
        if buckets:
            try:
                panel = mapped_frame(Warehouse(part.uri, part).prices(as_of) for part in parts)
                return panel.drop(empty_in(panel))  # of a column, all values may have been corrected away
            except (OSError, UnmappableError) as error:
                log.warning(f"The panel is read into memory, because it cannot lie in temporary files: {ended(error)}")
        panel = self.point_in_time(as_of, versions["prices"]).panel(as_of)
        return panel.select(name for name in columns if name in panel.columns)

    def oldest_news(self, since: date, as_of: date) -> date | None:
        """Return the oldest session of prices and actions, known by `as_of`, that the features built on `since` lack.

        None without any. Rows stored after that build count, even if their `known_at` is earlier.

        Parameters
        ----------
        since : date
            The session on which the features were built.
        as_of : date
        """
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
        """Return the newest `as_of` of the panel, None before its first run."""
        asked = (("prices", "known_at"), ("prices", "as_of"), ("runs", "as_of"))
        return max((day for day in (self._extreme(*what) for what in asked) if day), default=None)

    def features(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Return the default features of every session up to `as_of`, sorted by series_id and time; a copy for people.

        Parameters
        ----------
        as_of : date, optional
            None: every session.
        version : int, optional
            Of the table. None: the newest.

        Raises
        ------
        WarehouseError
            The table was built on a session after `as_of`, and may hold corrections that were unknown then.
        """
        rows = self._read(self._scan("features", version), "features", version).sort(FEATURE_KEY)
        built = rows["as_of"].max()
        if as_of is not None and isinstance(built, date) and built > as_of:
            raise WarehouseError(
                f"Features must be read as of {built}, on which they were last built, or later, got {as_of}: "
                "they hold later corrections. Compute those of that day: "
                "PriceFeatures().fit_transform(warehouse.prices(as_of))."
            )
        return rows

    def features_built(self) -> date | None:
        """Return the last session on which a row of `features` was written; None before the first."""
        built: date | None = self._extreme("features", "as_of")
        return built

    def features_read(self) -> dict[str, int]:
        """Return the versions of the tables that `features` was last computed from; empty before the first build."""
        notes = self._notes("features", READ)
        return notes[0]["versions"] if notes else {}

    def features_from(self, first: date) -> pl.DataFrame:
        """Return the rows of `features` from `first` on, unsorted.

        Parameters
        ----------
        first : date
        """
        return self._read(self._scan("features", spans=[(first, date.max)]), "features")

    def forecasts(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Return published forecasts, of one `as_of` or of all, sorted by as_of, series_id and step.

        Parameters
        ----------
        as_of : date, optional
            None: all.
        version : int, optional
            Of the table. None: the newest.
        """
        return self._of("forecasts", as_of, version).sort("as_of", "series_id", "step")

    def scores(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Return scores of the forecasts of one `as_of`, or of all, sorted by as_of, series_id and step.

        Parameters
        ----------
        as_of : date, optional
            None: all.
        version : int, optional
            Of the table. None: the newest.
        """
        return self._of("scores", as_of, version).sort("as_of", "series_id", "step")

    def runs(self, version: int | None = None) -> pl.DataFrame:
        """Return the runs, one row per `as_of`, oldest first.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.
        """
        return self._of("runs", None, version).sort("as_of")

    def decisions(self, version: int | None = None) -> pl.DataFrame:
        """Return the decisions on the champion, oldest first.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.
        """
        rows = TABLES["decisions"].with_current_names(self._of("decisions", None, version))
        return rows.sort("at", "decision")

    def panel(self) -> pl.DataFrame:
        """Return the settings of the panel, from each session on that changed them, oldest first."""
        return self._of("panel", None).sort("as_of")

    def forecasts_between(self, first: date, last: date) -> pl.DataFrame:
        """Return published forecasts of the `as_of` from `first` to `last`, sorted by as_of, series_id and step.

        Parameters
        ----------
        first, last : date
        """
        rows = self._read(self._scan("forecasts", column="as_of", spans=[(first, last)]), "forecasts")
        return rows.filter(pl.col("as_of").is_between(first, last)).sort("as_of", "series_id", "step")

    def looks(self) -> pl.DataFrame:
        """Return when the source was looked at, the last time of each day, and its newest session then."""
        return self._of("looks", None).sort("as_of")

    def has_published(self) -> bool:
        """Whether a forecast was ever published: from then on the settings of the panel are fixed."""
        return any(self._extreme(name, "as_of") is not None for name in ("forecasts", "runs"))

    # writing

    def clear_prices(self) -> None:
        """Delete prices and the tables next to them, a commit each; earlier versions keep the rows."""
        for name in ("flags", "repairs", "quarantine", "features", "events", "future_values", "actions", "prices"):
            self._commit(name, partial(self._delete, name))

    def store_features(self, rows: pl.DataFrame, read: Mapping[str, int] | None = None) -> int:
        """Store new and changed rows of features, in one commit; return how many.

        `read` are the versions of the tables that they were computed from, see `features_read`.

        Parameters
        ----------
        rows : polars.DataFrame
            As the table `features` has them.
        read : mapping, optional
        """
        rows = TABLES["features"].shape(rows)
        values = [name for name in rows.columns if name not in ("series_id", "time", "year")]
        notes = {READ: {"versions": dict(read or {})}}
        return self._merge("features", rows, FEATURE_KEY, replace=values, day="time", notes=notes)

    def publish(
        self, as_of: date, forecasts: pl.DataFrame, reissue: bool = False, read: Mapping[str, int] | None = None
    ) -> bool:
        """Publish all forecasts of one `as_of`, in one commit; return whether anything was written.

        An issued `as_of` never changes: if it exists, nothing is written. `reissue` replaces it, and deletes its scores
        before that. After a kill in between, the next run scores the forecasts that are stored.

        Parameters
        ----------
        as_of : date
            The session of the forecasts.
        forecasts : polars.DataFrame
            series_id, step, origin, time, forecast, quantile columns, model, run_id, live, trained_through; dates.
        reissue : bool, default=False
            Replace issued forecasts.
        read : mapping of str to int, optional
            The versions of the tables that they were computed from, see `read_by`.

        Raises
        ------
        WarehouseError
            There are no rows, a row is there twice, values are not finite, an origin lies after `as_of`, or a model has
            seen rows after `as_of`.
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
        """Return the versions of the tables that forecasts were computed from, of one `as_of` or all, newest first.

        Parameters
        ----------
        as_of : date, optional
            None: all.
        """
        notes = self._notes("forecasts", READ)
        return [note["versions"] for note in notes if as_of is None or note["as_of"] == as_of.isoformat()]

    def store_scores(self, rows: pl.DataFrame) -> int:
        """Store new and changed scores, in one commit; return how many.

        Parameters
        ----------
        rows : polars.DataFrame
            As the table `scores` has them.
        """
        rows = TABLES["scores"].shape(rows)
        values = [name for name in rows.columns if name not in (*FORECAST_KEY, "year")]
        return self._merge("scores", rows, FORECAST_KEY, replace=values, day="as_of")

    def store_decision(self, row: Mapping[str, Any]) -> int:
        """Store one decision, in one commit; return 1, or 0 if it was stored before. Missing columns are null.

        Parameters
        ----------
        row : mapping
            By column.
        """
        return self._merge("decisions", TABLES["decisions"].row(row), DECISION_KEY)

    def put_panel(self, row: Mapping[str, Any]) -> None:
        """Write the settings of the panel from `as_of` on, in one commit: as_of, panel, settings.

        Parameters
        ----------
        row : mapping
            By column.
        """
        new = TABLES["panel"].row(row)
        self._replace("panel", new, row["as_of"], lambda there: there.equals(new))

    def put_look(self, at: datetime, newest: date) -> None:
        """Write that the source was looked at, in one commit. Looks within an hour that find the same count as one.

        Parameters
        ----------
        at : datetime
            In UTC.
        newest : date
            The newest session of the source.
        """
        new = TABLES["looks"].row({"as_of": at.date(), "at": at, "newest": newest})

        def known(there: pl.DataFrame) -> bool:
            if there.is_empty() or there["newest"][0] != newest:
                return False
            return bool(new["at"][0] - there["at"][0] < LOOK_AGAIN)

        self._replace("looks", new, at.date(), known)

    def put_run(self, row: Mapping[str, Any]) -> None:
        """Write the row of a run's `as_of`, replacing the stored one, in one commit.

        Nothing is written if the rows differ in run_id, started and finished only: a rerun that finds everything done
        leaves no trace.

        Parameters
        ----------
        row : mapping
            as_of and status, and other columns of `runs`; columns without a value are null.

        Raises
        ------
        WarehouseError
            A column is unknown, or as_of or status is missing.
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
