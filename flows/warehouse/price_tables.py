"""The tables of incoming rows: prices, corporate actions, quarantine, repairs, flags and deliveries."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.segments import blocks_of, series_starts
from tidecast.flows.warehouse.ahead_tables import AheadTables
from tidecast.flows.warehouse.bucket import BUCKET_ROWS, may_be_several
from tidecast.flows.warehouse.delta_reader import Spans
from tidecast.flows.warehouse.point_in_time import PointInTime
from tidecast.flows.warehouse.schema import FLAG_KEY, PRICE_KEY, QUARANTINE_KEY, TABLES, as_known, in_order, values_in
from tidecast.forecasting.estimator.mapped_frame import UnmappableError, mapped_frame

LATELY = 99
"""Days within which nearly every quoted series has a price."""


class PriceTables(AheadTables):
    """Prices and the tables next to them. A read takes the newest version of a table, or `version`."""

    _newest_panel: tuple[object, pl.DataFrame] | None = None

    # reading

    def prices(self, as_of: date | None = None, version: int | None = None, static: Sequence[str] = ()) -> pl.DataFrame:
        """Return the panel as known at `as_of` (None: as known now), sorted by series_id and time.

        The newest panel that was read is kept, because the steps of a run read the same one. A large one is read bucket
        by bucket, and lies in temporary files: see `mapped_frame`.

        Rows with ``time <= as_of`` and ``known_at <= as_of`` count; of several revisions of a row, the last. Each
        series is on the basis of its last row: splits and dividends known by then are undone in earlier rows.

        Parameters
        ----------
        as_of : date or None
        version : int or None
            A version of `prices`.
        static : sequence of str
            Columns of which all rows of a series get the last known value. One that is not stored is left out.

        Returns
        -------
        polars.DataFrame
            series_id, time (Date), close; open, high, low, volume and further columns where any is known.
        """
        key = as_of, self._state("prices", version), self._state("actions")
        if self._newest_panel is None or self._newest_panel[0] != key:
            self._newest_panel = None  # before the next one is read, which takes its memory
            self._newest_panel = key, self._panel(as_of, version)
        panel = self._newest_panel[1]
        known = [name for name in static if name in panel.columns]
        return _with_last_known(panel, known) if known else panel

    def _panel(self, as_of: date | None, version: int | None) -> pl.DataFrame:
        """The panel of `prices`, read in one piece."""
        return self.point_in_time(as_of, version).panel(as_of)

    def quotes(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Return prices as quoted on their day, before splits and dividends are undone; see `prices`.

        Parameters
        ----------
        as_of : date, optional
            None: as known now.
        version : int, optional
            Of the table. None: the newest.
        """
        return as_known(self.revisions(as_of, version), as_of)

    def actions(self, as_of: date | None = None) -> pl.DataFrame:
        """Return splits and dividends up to `as_of` as known by then (None: as known now), by series_id and time.

        Parameters
        ----------
        as_of : date, optional

        Returns
        -------
        polars.DataFrame
            series_id, time (the ex-date), split_ratio (1: none) and dividend (0: none).
        """
        return self.point_in_time(as_of).actions_at(as_of)

    def point_in_time(self, as_of: date | None = None, version: int | None = None) -> PointInTime:
        """Return every revision of prices and actions known by `as_of`; `version` is one of `prices`.

        Parameters
        ----------
        as_of : date, optional
            None: as known now.
        version : int, optional
            None: the newest.
        """
        actions = self._known("actions", None, as_of)
        prices = self._needed(self._known("prices", version, as_of))
        return self._in_time(self._read(prices, "prices", version), self._read(actions, "actions"))

    def _in_time(self, prices: pl.DataFrame, actions: pl.DataFrame) -> PointInTime:
        """Rows of both tables, in order; of a bucket, with the columns of the whole panel."""
        columns = () if self._bucket is None else self._bucket.columns
        return PointInTime(in_order(prices), actions.sort(PRICE_KEY), columns)

    def point_in_time_since(self, first: date, as_of: date) -> PointInTime:
        """Return every revision, known by `as_of`, of the prices and actions from `first` to `as_of`.

        Parameters
        ----------
        first, as_of : date
        """
        known, spans = pl.col("known_at") <= as_of, [(first, as_of)]
        prices, actions = (self._scan(name, spans=spans).filter(known) for name in ("prices", "actions"))
        return self._in_time(self._read(self._needed(prices), "prices"), self._read(actions, "actions"))

    def _needed(self, prices: pl.LazyFrame) -> pl.LazyFrame:
        """The columns of `prices` that panels are made of."""
        if self._bucket is None:
            return prices.drop("as_of", "year", strict=False)
        return prices.select(*self._bucket.columns, "known_at")

    def series(
        self, as_of: date, since: date = date.min, until: date | None = None, version: int | None = None
    ) -> pl.DataFrame:
        """Return each series' number of rows and its last session, as known at `as_of`, without reading its prices.

        Parameters
        ----------
        as_of : date
        since : date, optional
            Count rows from this session on.
        until : date, optional
            Count rows up to this session. None: up to `as_of`.
        version : int, optional
            Of `prices`. None: the newest.

        Returns
        -------
        polars.DataFrame
            Sorted by ``series_id``: ``rows``, ``time``; and ``calendar``, if the table has it.
        """
        known = self._scan("prices", version, spans=[(since, until or as_of)]).filter(pl.col("known_at") <= as_of)
        calendar = [pl.col("calendar").drop_nulls().first()] if "calendar" in known.collect_schema() else []
        revised = (pl.col("known_at") != pl.col("time")).any()
        facts = [pl.len().cast(pl.Int64).alias("rows"), pl.col("time").max(), *calendar, revised.alias("revised")]
        found = self._read(known.group_by("series_id").agg(facts), "prices", version).sort("series_id")
        names = found.filter("revised")["series_id"]
        if len(names):  # of several revisions of a row, one counts; to find them takes longer
            some = known.filter(pl.col("series_id").is_in(names.implode())).group_by("series_id")
            rows = self._read(some.agg(pl.col("time").n_unique().cast(pl.Int64).alias("rows")), "prices", version)
            found = found.update(rows, on="series_id")
        return found.drop("revised")

    def columns(self, as_of: date, version: int | None = None) -> tuple[str, ...]:
        """Return the columns of the panel as known at `as_of`: those of `prices` that have a value anywhere.

        Statistics of files answer that, where they can: values are read of the other columns only.

        Parameters
        ----------
        as_of : date
        version : int, optional
            Of `prices`. None: the newest.
        """
        known = self._known("prices", version, as_of)
        names = [name for name in known.collect_schema() if name not in ("known_at", "as_of", "year")]
        files = self.files("prices", version)
        days = [pl.col(name).cast(pl.Date) for name in ("max.time", "max.known_at") if name in files.columns]
        files = files.filter(pl.max_horizontal(days) <= as_of) if len(days) == 2 else files.clear()
        shown = {"series_id", "time", "close"}
        counts = {name: f"null_count.{name}" for name in names if f"null_count.{name}" in files.columns}
        shown |= {name for name, nulls in counts.items() if (files[nulls] < files["num_records"]).any()}
        if asked := [name for name in names if name not in shown]:
            found = self._read(known.select(pl.col(asked).is_not_null().any()), "prices", version)
            shown |= {name for name in asked if found[name].item()}
        return tuple(name for name in names if name in shown)

    def has_older(self, first: date, series_id: pl.Series) -> bool:
        """Whether any of these series has a price before `first`.

        Parameters
        ----------
        first : date
        series_id : polars.Series
        """
        rows = self._scan("prices", spans=[(date.min, first - timedelta(days=1))])
        rows = rows.filter(pl.col("series_id").is_in(series_id.implode())).select("series_id").head(1)
        return not self._read(rows, "prices").is_empty()

    def actions_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return every revision of the actions with these keys, sorted by series_id, time and known_at.

        Parameters
        ----------
        keys : polars.DataFrame
            With series_id and time.
        """
        spans = _by_year(keys["time"])
        rows = self._scan("actions", spans=spans).join(keys.lazy(), on=["series_id", "time"], how="semi")
        return self._read(rows, "actions").sort(PRICE_KEY)

    def late_actions(self, since: date, as_of: date) -> pl.DataFrame:
        """Return every revision of an action that became known after its ex-date, after `since` and by `as_of`.

        Parameters
        ----------
        since, as_of : date
        """
        return self.actions_known_since(since, as_of).filter(pl.col("known_at") > pl.col("time"))

    def actions_known_since(self, since: date, as_of: date) -> pl.DataFrame:
        """Return every revision of an action that became known after `since` and by `as_of`.

        Parameters
        ----------
        since, as_of : date
        """
        known = (pl.col("known_at") > since) & (pl.col("known_at") <= as_of)
        return self._read(self._scan("actions", spans=[(date.min, as_of)]).filter(known), "actions").sort(PRICE_KEY)

    def revisions(self, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
        """Return every row of `prices`, with `known_at` and the `as_of` of the run that stored it.

        With `as_of`, only rows up to that session that were known by then.

        Parameters
        ----------
        as_of : date, optional
        version : int, optional
            Of the table. None: the newest.
        """
        return in_order(self._read(self._known("prices", version, as_of), "prices", version))

    def _known(self, name: str, version: int | None, as_of: date | None) -> pl.LazyFrame:
        """Rows of a table up to a session that were known by then; without a session, all."""
        rows = self._scan(name, version, spans=None if as_of is None else [(date.min, as_of)])
        return rows if as_of is None else rows.filter(pl.col("known_at") <= as_of)

    def revisions_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Return every revision of the prices with these keys, sorted by series_id, time and known_at.

        Each year is read by itself: with many keys in many years, that takes half the time and memory.

        Parameters
        ----------
        keys : polars.DataFrame
            With series_id and time.
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
        """Return every revision of the rows of these days, sorted by series_id, time and known_at.

        Parameters
        ----------
        first, last : date
        """
        return self._read(self._scan("prices", spans=[(first, last)]), "prices").sort(PRICE_KEY)

    def corrections(self, as_of: date) -> pl.DataFrame:
        """Return the stored prices that the run of a session corrected, sorted by series_id and time.

        Parameters
        ----------
        as_of : date

        Returns
        -------
        polars.DataFrame
            series_id, time, ``before`` and ``close``: the price before the run and after it, as quoted.
        """
        stored = (pl.col("as_of") == as_of) & (pl.col("known_at") > pl.col("time"))  # a new price is known on its day
        rows = self._scan("prices", spans=[(date.min, as_of)]).filter(stored).select("series_id", "time").unique()
        keys = self._read(rows, "prices")
        revisions = self.revisions_of(keys) if keys.height else self._read(self._scan("prices").head(0), "prices")
        before = pl.col("close").shift(1).over("series_id", "time")
        changed = (pl.col("as_of") == as_of) & pl.col("before").is_not_null() & (pl.col("before") != pl.col("close"))
        found = revisions.with_columns(before=before).filter(changed)
        return (
            found.select("series_id", "time", "before", "close")
            .unique(["series_id", "time"], keep="last")
            .sort("series_id", "time")
        )

    def sessions(self, after: date, until: date) -> pl.Series:
        """Return the days after `after` and before `until` that have a price, in order.

        Parameters
        ----------
        after, until : date
        """
        span = (after + timedelta(days=1), until - timedelta(days=1))
        return self._read(self._scan("prices", spans=[span]).select("time").unique(), "prices")["time"].sort()

    def kinds(self) -> dict[str, pl.DataType]:
        """Return the columns of `prices` and their types."""
        return dict(self._scan("prices").collect_schema())

    def calendars(self) -> pl.DataFrame:
        """Return ``series_id`` and ``calendar`` of the series whose rows of the last two years name one."""
        scan, newest = self._scan("prices"), self.newest_session()
        if newest is None or "calendar" not in scan.collect_schema():
            return pl.DataFrame(schema={"series_id": pl.String, "calendar": pl.String})
        recent = scan.filter(pl.col("year") >= newest.year - 1).select("series_id", "calendar").drop_nulls().unique()
        return self._read(recent, "prices").sort("series_id")

    def newcomers(self, series_id: pl.Series, as_of: date) -> list[str]:
        """Return the series of which no run before `as_of` has stored a price, sorted.

        Nearly all others have a price of the last `LATELY` days; the whole table is read for the rest only.

        Parameters
        ----------
        series_id : polars.Series
            Series of a delivery.
        as_of : date
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
        """Return the time of the newest price, None without any; with `before`, of runs with an earlier `as_of`.

        Parameters
        ----------
        before : date, optional
        """
        newest: date | None = self._extreme("prices", "time", before=None if before is None else ("as_of", before))
        return newest

    def oldest_session(self) -> date | None:
        """Return the time of the oldest price, None without any."""
        oldest: date | None = self._extreme("prices", "time", "min")
        return oldest

    def quarantine(self, version: int | None = None) -> pl.DataFrame:
        """Return rows that broke a rule, by the `as_of` that first met them. Without a readable time, `year` is 0.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.
        """
        rows = self._read(self._scan("quarantine", version), "quarantine", version)
        return rows.sort("as_of", "series_id", "time", "rule", "original", "occurrence")

    def repairs(self, version: int | None = None) -> pl.DataFrame:
        """Return decisions on rows in quarantine, in the order in which they were made.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.
        """
        rows = self._read(self._scan("repairs", version), "repairs", version)
        return rows.sort("at", "series_id", "time", "rule", "original", "occurrence")

    def flags(self, version: int | None = None) -> pl.DataFrame:
        """Return rows, series and feeds that a rule has flagged, by the `as_of` that first met them.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.
        """
        return self._read(self._scan("flags", version), "flags", version).sort("as_of", "series_id", "time", "rule")

    def deliveries(self) -> pl.DataFrame:
        """Return the stored files of a drop folder, by name."""
        return self._read(self._scan("deliveries"), "deliveries").sort("file")

    # writing

    def store_prices(self, rows: pl.DataFrame, version: int | None = None) -> int:
        """Store new rows and revisions, in one commit; return how many. Stored rows are skipped.

        A second correction with the same (series_id, time, known_at) replaces the first: `known_at` counts sessions,
        and within a session the last correction counts. Earlier versions of the table keep the replaced value.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time, close, known_at, as_of; optional open, high, low, volume. Extra columns are stored, and
            added to the table if it does not have them: they are null in older rows.
        version : int, optional
            The version of the table that the rows are based on: with any other, nothing is stored.

        Raises
        ------
        WarehouseError
            Two rows have the same key, or a column has another type than in the table.
        TableChanged
            The table is no longer at `version`.
        """
        rows = TABLES["prices"].shape(rows)
        return self._merge("prices", rows, PRICE_KEY, values_in(rows), "known_at", version)

    def store_actions(self, rows: pl.DataFrame, version: int | None = None) -> int:
        """Store new and corrected splits and dividends, in one commit; return how many.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time (the ex-date), split_ratio (1: none), dividend (0: none), known_at, as_of.
        version : int, optional
            As in `store_prices`.
        """
        rows = TABLES["actions"].shape(rows)
        return self._merge("actions", rows, PRICE_KEY, ("split_ratio", "dividend"), "known_at", version)

    def store_quarantine(self, rows: pl.DataFrame) -> int:
        """Store rows that broke a rule, in one commit; return how many are new.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time (both may be null), rule, original (JSON text), as_of (the run that met them), and
            occurrence: 0, 1, … among rows that agree in rule and original.
        """
        return self._merge("quarantine", TABLES["quarantine"].shape(rows), QUARANTINE_KEY)

    def store_repairs(self, rows: pl.DataFrame) -> int:
        """Store decisions on rows in quarantine, in one commit; return how many are new. Stored ones stay.

        Parameters
        ----------
        rows : polars.DataFrame
            As the table `repairs` has them.
        """
        return self._merge("repairs", TABLES["repairs"].shape(rows), QUARANTINE_KEY)

    def store_flags(self, rows: pl.DataFrame) -> int:
        """Store flags, in one commit; return how many are new.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id (null for a feed), time, rule, as_of.
        """
        return self._merge("flags", TABLES["flags"].shape(rows), FLAG_KEY)

    def store_delivery(self, row: Mapping[str, Any]) -> int:
        """Store the counts of a file of a drop folder, in one commit; return 1, or 0 if the file was stored before.

        Parameters
        ----------
        row : mapping
            As the table `deliveries` has it.
        """
        return self._merge("deliveries", TABLES["deliveries"].shape(pl.from_dicts([dict(row)])), ("file",))


def _by_year(days: pl.Series) -> Spans:
    """Return the first and last day of each year: few spans for any number of days."""
    years = (
        pl.DataFrame({"day": days}).group_by(year=pl.col("day").dt.year()).agg(low=pl.min("day"), high=pl.max("day"))
    )
    return list(years.select("low", "high").iter_rows())


def _with_last_known(panel: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The last known value of a series in all its rows; of a large panel, in temporary files."""
    last = pl.col(names).drop_nulls().last().over("series_id")
    if not may_be_several(panel.height):
        return panel.with_columns(last)
    blocks = blocks_of(np.append(series_starts(panel), panel.height), BUCKET_ROWS)
    try:
        filled = mapped_frame(panel[block].select("series_id", *names).select(last) for block in blocks)
    except (OSError, UnmappableError):  # then the rest of the panel is in memory, too
        return panel.with_columns(last)
    return panel.with_columns(filled.get_columns())
