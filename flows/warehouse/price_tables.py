"""The tables of what came in: prices with their actions, what was kept aside or flagged, and the deliveries."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from tidecast.flows.warehouse.delta_reader import Spans
from tidecast.flows.warehouse.delta_writer import DeltaTables
from tidecast.flows.warehouse.point_in_time import PointInTime
from tidecast.flows.warehouse.schema import FLAG_KEY, PRICE_KEY, QUARANTINE_KEY, TABLES, as_known, values_in

LATELY = 99
"""Days of which a series that is quoted has a price, nearly always."""


class PriceTables(DeltaTables):
    """Prices and what belongs to them. A read takes one version of a table: the newest, or, where it can be given,
    `version`."""

    # reading

    def prices(self, as_of: date | None = None, version: int | None = None, static: Sequence[str] = ()) -> pl.DataFrame:
        """The panel as it was known at `as_of` (None: as it is known now), sorted by series_id and time.

        Each series on the basis of its last row: splits and dividends known by then are undone in what lies before.
        Rows with ``time <= as_of`` and ``known_at <= as_of``; of several revisions of a row, the last.

        Of the columns `static`, all rows of a series have what is known last. One without any is left out.

        Returns
        -------
        polars.DataFrame
            series_id, time (Date), close; open, high, low, volume and further columns where any is known.
        """
        panel = self.knowledge(as_of, version).panel(as_of)
        known = [name for name in static if name in panel.columns]
        return panel.with_columns(pl.col(name).drop_nulls().last().over("series_id") for name in known)

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

    def knowledge(self, as_of: date | None = None, version: int | None = None) -> PointInTime:
        """Every revision of prices and actions known by `as_of`; with `version`, of that version of `prices`."""
        actions = self._scan("actions", spans=None if as_of is None else [(date.min, as_of)])
        if as_of is not None:
            actions = actions.filter(pl.col("known_at") <= as_of)
        return PointInTime(self.revisions(as_of, version), self._read(actions, "actions").sort(PRICE_KEY))

    def knowledge_since(self, first: date, as_of: date) -> PointInTime:
        """Every revision known by `as_of` of the prices and actions from `first` to `as_of`."""
        known, spans = pl.col("known_at") <= as_of, [(first, as_of)]
        prices, actions = (
            self._read(self._scan(name, spans=spans).filter(known), name).sort(PRICE_KEY)
            for name in ("prices", "actions")
        )
        return PointInTime(prices, actions)

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

    def late_actions(self, since: date, as_of: date) -> pl.DataFrame:
        """Every revision of an action that became known later than on its ex-date, after `since` and by `as_of`."""
        return self.actions_told(since, as_of).filter(pl.col("known_at") > pl.col("time"))

    def actions_told(self, since: date, as_of: date) -> pl.DataFrame:
        """Every revision of an action that became known after `since` and by `as_of`."""
        told = (pl.col("known_at") > since) & (pl.col("known_at") <= as_of)
        return self._read(self._scan("actions", spans=[(date.min, as_of)]).filter(told), "actions").sort(PRICE_KEY)

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

    def kinds(self) -> dict[str, pl.DataType]:
        """The columns that `prices` has so far, and what they hold."""
        return dict(self._scan("prices").collect_schema())

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
        rows = TABLES["prices"].shape(rows)
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
        rows = TABLES["actions"].shape(rows)
        return self._merge("actions", rows, PRICE_KEY, ("split_ratio", "dividend"), "known_at", version)

    def store_quarantine(self, rows: pl.DataFrame) -> int:
        """Store rows that broke a rule, in one commit; returns how many were not there yet.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time (both may be null), rule, original (JSON text), as_of (the run that met them), and
            occurrence: 0, 1, … among rows that agree in rule and original.
        """
        return self._merge("quarantine", TABLES["quarantine"].shape(rows), QUARANTINE_KEY)

    def store_repairs(self, rows: pl.DataFrame) -> int:
        """Store decisions on rows in quarantine, in one commit; returns how many were not there yet. None changes."""
        return self._merge("repairs", TABLES["repairs"].shape(rows), QUARANTINE_KEY)

    def store_flags(self, rows: pl.DataFrame) -> int:
        """Store flags, in one commit; returns how many were not there yet.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id (null for a feed), time, rule, as_of.
        """
        return self._merge("flags", TABLES["flags"].shape(rows), FLAG_KEY)

    def store_delivery(self, row: Mapping[str, Any]) -> int:
        """Store that a file of a drop folder was taken, in one commit; one that is there stays as it is."""
        return self._merge("deliveries", TABLES["deliveries"].shape(pl.from_dicts([dict(row)])), ("file",))


def _by_year(days: pl.Series) -> Spans:
    """The first and last of the days in each year: few spans, whatever the days are."""
    years = (
        pl.DataFrame({"day": days}).group_by(year=pl.col("day").dt.year()).agg(low=pl.min("day"), high=pl.max("day"))
    )
    return list(years.select("low", "high").iter_rows())
