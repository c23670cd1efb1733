"""The tables of one panel: what their rows mean, and what may be written. How they are kept is in `flows.delta`."""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from typing import Any

import polars as pl

from flows.delta import DeltaTables
from flows.delta_reading import Spans
from flows.errors import WarehouseError
from flows.knowledge import Knowledge
from flows.tables import (
    DECISION_KEY,
    DECISIONS,
    FEATURE_KEY,
    FLAG_KEY,
    FORECAST_KEY,
    PRICE_KEY,
    QUARANTINE_KEY,
    RUNS,
    TABLES,
    VALUES,
    as_known,
    check_forecasts,
    shape,
    values_in,
)

LATELY = 99
"""Days of which a series that is quoted has a price, nearly always."""

READ = "read"
"""What a commit of forecasts says about itself: their as_of, and the versions of the tables they were made from."""


class Warehouse(DeltaTables):
    """The tables of one panel. A read takes one version of a table: the newest, or, where it can be given, `version`.

    Parameters
    ----------
    uri : str
        Folder, or address of an object store; see `flows.delta.DeltaTables`.

    Raises
    ------
    SettingsError
        On connecting: the folder's path holds what Delta Lake cannot have in it, or a variable is not set.
    WarehouseError
        On reading a `version` that never was, or whose files were removed by a vacuum.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri, TABLES)

    # reading

    def prices(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """The panel as it was known at `as_of` (None: as it is known now), sorted by series_id and time.

        Each series on the basis of its last row: splits and dividends known by then are undone in what lies before.
        Rows with ``time <= as_of`` and ``known_at <= as_of``; of several revisions of a row, the last.

        Returns
        -------
        polars.DataFrame
            series_id, time (Date), close; open, high, low, volume and further columns where any is known.
        """
        return self.knowledge(as_of, version).panel(as_of)

    def quotes(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """As `prices`, each as it was quoted on its day: splits and dividends are still in them."""
        return as_known(self.revisions(as_of, version), as_of)

    def actions(self, as_of: date | None = None) -> pl.DataFrame:
        """Splits and dividends with an ex-date up to `as_of` and known by then (None: as known now), in order.

        Returns
        -------
        polars.DataFrame
            series_id, time (the ex-date), split_ratio (1: none) and dividend (0: none).
        """
        return self.knowledge(as_of).actions_at(as_of)

    def knowledge(self, as_of: date | None = None, version: int | None = None) -> Knowledge:
        """Every revision of prices and actions known by `as_of`; with `version`, of that version of `prices`."""
        actions = self._scan("actions", spans=None if as_of is None else [(date.min, as_of)])
        if as_of is not None:
            actions = actions.filter(pl.col("known_at") <= as_of)
        return Knowledge(self.revisions(as_of, version), self._read(actions, "actions").sort(PRICE_KEY))

    def knowledge_since(self, first: date, as_of: date) -> Knowledge:
        """Every revision known by `as_of` of the prices and actions from `first` to `as_of`."""
        known, spans = pl.col("known_at") <= as_of, [(first, as_of)]
        prices, actions = (
            self._read(self._scan(name, spans=spans).filter(known), name).sort(PRICE_KEY)
            for name in ("prices", "actions")
        )
        return Knowledge(prices, actions)

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

    def has_older(self, first: date, series_id: pl.Series) -> bool:
        """Whether any of these series has a price before `first`."""
        rows = self._scan("prices", spans=[(date.min, first - timedelta(days=1))])
        rows = rows.filter(pl.col("series_id").is_in(series_id.implode())).select("series_id").head(1)
        return not self._read(rows, "prices").is_empty()

    def actions_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Every revision of the actions with these series_id and time, sorted by series_id, time and known_at."""
        spans = _by_year(keys["time"])
        rows = self._scan("actions", spans=spans).join(keys.lazy(), on=["series_id", "time"], how="semi")
        return self._read(rows, "actions").sort(PRICE_KEY)

    def revisions(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Every row `prices` has ever held on to, with `known_at` and the `as_of` of the run that stored it.

        With `as_of`, the rows up to that session that were known by then.
        """
        rows = self._scan("prices", version, spans=None if as_of is None else [(date.min, as_of)])
        if as_of is not None:
            rows = rows.filter(pl.col("known_at") <= as_of)
        return self._read(rows, "prices", version).sort(PRICE_KEY)

    def revisions_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Every revision of the rows with these series_id and time, sorted by series_id, time and known_at.

        Read a year at a time: of many keys in many years, each look-up then meets few, in half the time and memory.
        """
        table, spans = self._table("prices"), _by_year(keys["time"])
        version = None if table is None else table.version()
        found = []
        for span in spans or [(date.min, date.min)]:
            wanted = keys.lazy().filter(pl.col("time").is_between(*span))
            rows = self._scan("prices", version, spans=[span]).join(wanted, on=["series_id", "time"], how="semi")
            found.append(self._read(rows, "prices"))
        return pl.concat(found).sort(PRICE_KEY)

    def revisions_between(self, first: date, last: date) -> pl.DataFrame:
        """Every revision of the rows of these days, sorted by series_id, time and known_at."""
        return self._read(self._scan("prices", spans=[(first, last)]), "prices").sort(PRICE_KEY)

    def sessions(self, after: date, until: date) -> pl.Series:
        """Days after `after` and before `until` that have a price, rising."""
        span = (after + timedelta(days=1), until - timedelta(days=1))
        return self._read(self._scan("prices", spans=[span]).select("time").unique(), "prices")["time"].sort()

    def calendars(self) -> pl.DataFrame:
        """``series_id`` and ``calendar`` of the series whose rows of the last two years name one."""
        scan, newest = self._scan("prices"), self.newest_session()
        if newest is None or "calendar" not in scan.collect_schema():
            return pl.DataFrame(schema={"series_id": pl.String, "calendar": pl.String})
        recent = scan.filter(pl.col("year") >= newest.year - 1).select("series_id", "calendar").drop_nulls().unique()
        return self._read(recent, "prices").sort("series_id")

    def newcomers(self, series_id: pl.Series, as_of: date) -> list[str]:
        """Those of the series of which no run before `as_of` has stored a price, sorted.

        Nearly all have a price of late: only for the others is the whole table looked at.
        """
        left = series_id.drop_nulls()
        for spans in ([(as_of - timedelta(days=LATELY), as_of)], [(date.min, date.max)]):
            rows = self._scan("prices", spans=spans)
            rows = rows.filter(pl.col("as_of") < as_of, pl.col("series_id").is_in(left.implode()))
            known = self._read(rows.select("series_id").unique(), "prices")["series_id"]
            left = left.filter(~left.is_in(known.implode()))
            if left.is_empty():
                break
        return left.sort().to_list()

    def newest_session(self, before: date | None = None) -> date | None:
        """Time of the newest price, None without any; with `before`, as runs of an earlier `as_of` stored them."""
        newest: date | None = self._extreme("prices", "time", before=None if before is None else ("as_of", before))
        return newest

    def oldest_session(self) -> date | None:
        """Time of the oldest price, None for an empty table."""
        oldest: date | None = self._extreme("prices", "time", "min")
        return oldest

    def newest_seen(self) -> date | None:
        """The newest `as_of` the panel has seen, None before its first run."""
        asked = (("prices", "known_at"), ("prices", "as_of"), ("runs", "as_of"))
        return max((day for day in (self._extreme(*what) for what in asked) if day), default=None)

    def quarantine(self, version: int | None = None) -> pl.DataFrame:
        """Rows that broke a rule, in the order they were first seen. Those without a readable time have year 0."""
        rows = self._read(self._scan("quarantine", version), "quarantine", version)
        return rows.sort("as_of", "series_id", "time", "rule", "original", "occurrence")

    def repairs(self, version: int | None = None) -> pl.DataFrame:
        """Decisions on rows in quarantine, in the order they were taken."""
        rows = self._read(self._scan("repairs", version), "repairs", version)
        return rows.sort("at", "series_id", "time", "rule", "original", "occurrence")

    def flags(self, version: int | None = None) -> pl.DataFrame:
        """Stored rows, series and feeds that a rule has doubts about, by the as_of that first met them."""
        return self._read(self._scan("flags", version), "flags", version).sort("as_of", "series_id", "time", "rule")

    def deliveries(self) -> pl.DataFrame:
        """The files of a drop folder that were taken, in order of name."""
        return self._read(self._scan("deliveries"), "deliveries").sort("file")

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
        return self._of("decisions", None, version).sort("at", "decision")

    def has_published(self) -> bool:
        """Whether a forecast was ever published here: from then on a panel stays what it is."""
        return any(self._extreme(name, "as_of") is not None for name in ("forecasts", "runs"))

    # writing

    def store_prices(self, rows: pl.DataFrame, version: int | None = None) -> int:
        """Store new rows and revisions, in one commit; returns how many there were. Rows already there are skipped.

        A second correction of a row that lands on the same (series_id, time, known_at) takes the place of the first,
        within the same commit: `known_at` counts sessions, and within one session the last word holds. The value it
        replaced stays reachable by the table's version.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time, close, known_at, as_of; optional open, high, low, volume. Further columns are kept, and
            added to the table if it does not have them: older rows then read as null.
        version : int, optional
            That of the table from which the rows were worked out: with any other, nothing is stored.

        Raises
        ------
        WarehouseError
            Two rows have the same key, or a column is of another type than in the table.
        MovedOn
            The table is not at `version` any more.
        """
        rows = shape("prices", rows, PRICE_KEY, optional=VALUES[1:])
        return self._merge("prices", rows, PRICE_KEY, values_in(rows), "known_at", version)

    def store_actions(self, rows: pl.DataFrame, version: int | None = None) -> int:
        """Store new and corrected splits and dividends, in one commit; returns how many there were.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time (the ex-date), split_ratio (1: none), dividend (0: none), known_at, as_of.
        version : int, optional
            As of `store_prices`.
        """
        rows = shape("actions", rows, PRICE_KEY)
        return self._merge("actions", rows, PRICE_KEY, ("split_ratio", "dividend"), "known_at", version)

    def clear_prices(self) -> None:
        """Take out prices, actions, features and what is in quarantine, a commit each; earlier versions keep them."""
        for name in ("flags", "repairs", "quarantine", "features", "actions", "prices"):
            self._commit(name, partial(self._delete, name))

    def store_quarantine(self, rows: pl.DataFrame) -> int:
        """Store rows that broke a rule, in one commit; returns how many were not there yet.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time (both may be null), rule, original (JSON text), as_of (the run that met them), and
            occurrence: 0, 1, … among rows that agree in rule and original.
        """
        return self._merge("quarantine", shape("quarantine", rows, QUARANTINE_KEY, optional=VALUES), QUARANTINE_KEY)

    def store_repairs(self, rows: pl.DataFrame) -> int:
        """Store decisions on rows in quarantine, in one commit; returns how many were not there yet. None changes."""
        return self._merge("repairs", shape("repairs", rows, QUARANTINE_KEY, optional=VALUES), QUARANTINE_KEY)

    def store_features(self, rows: pl.DataFrame, read: Mapping[str, int] | None = None) -> int:
        """Store new rows of features, and changed ones in the place of those there, in one commit; returns how many.

        `read` are the versions of the tables that they were computed from; kept with the commit, see `features_read`.
        """
        rows = shape("features", rows, FEATURE_KEY)
        values = [name for name in rows.columns if name not in ("series_id", "time", "year")]
        notes = {READ: {"versions": dict(read or {})}}
        return self._merge("features", rows, FEATURE_KEY, replace=values, day="time", notes=notes)

    def store_flags(self, rows: pl.DataFrame) -> int:
        """Store flags, in one commit; returns how many were not there yet.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id (null for a feed), time, rule, as_of.
        """
        return self._merge("flags", shape("flags", rows, FLAG_KEY), FLAG_KEY)

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
        rows = shape("forecasts", forecasts.with_columns(as_of=pl.lit(as_of)), FORECAST_KEY, optional=("run_id",))
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
        """Store scores not there yet, in one commit; returns how many there were. A score never changes."""
        return self._merge("scores", shape("scores", rows, FORECAST_KEY), FORECAST_KEY, day="as_of")

    def store_delivery(self, row: Mapping[str, Any]) -> int:
        """Store that a file of a drop folder was taken, in one commit; one that is there stays as it is."""
        return self._merge("deliveries", shape("deliveries", pl.DataFrame([dict(row)])), ("file",))

    def store_decision(self, row: Mapping[str, Any]) -> int:
        """Store one decision, in one commit; one that is there stays as it is. What is not known of it is null."""
        names = [name for name in DECISIONS if name != "year"]
        new = pl.DataFrame([[row.get(name)] for name in names], schema={name: DECISIONS[name] for name in names})
        return self._merge("decisions", shape("decisions", new, DECISION_KEY), DECISION_KEY)

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
        new = pl.DataFrame([[row.get(name)] for name in names], schema={name: RUNS[name] for name in names})
        new = shape("runs", new)

        clock = ("run_id", "started", "finished")
        self._replace("runs", new, row["as_of"], lambda there: there.drop(clock).equals(new.drop(clock)), row["status"])

    def _of(self, name: str, as_of: date | None, version: int | None = None) -> pl.DataFrame:
        spans = None if as_of is None else [(as_of, as_of)]
        return self._read(self._scan(name, version, "as_of", spans), name, version)


def _by_year(days: pl.Series) -> Spans:
    """The first and last of the days in each year: few spans, whatever the days are."""
    years = (
        pl.DataFrame({"day": days}).group_by(year=pl.col("day").dt.year()).agg(low=pl.min("day"), high=pl.max("day"))
    )
    return list(years.select("low", "high").iter_rows())
