"""Check the rows of a delivery: measure each row against its series' past, then apply each rule to each row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.config.column_names import with_prefix
from tidecast.flows.config.rule_actions import (
    DEFAULT_ACTIONS,
    FAIL,
    FLAG,
    OFF,
    PANEL_ACTIONS,
    QUARANTINE,
    actions_in_force,
)
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.rules.measures import HUNDRED, KEY, measures_of
from tidecast.flows.rules.price_rules import PriceRules, rule_names, rules_schema
from tidecast.flows.rules.staleness import FLAGS, stale

BLOCK = 500_000
"""Rows, history included, that are checked at once, in whole series. So memory does not grow with the history."""

ALL_DAYS_GUESSED = ("weekdays", "24/7")
"""Calendars without holidays. In these, a session that no series has counts as a holiday."""


@dataclass(frozen=True)
class Checked:
    """Rows of a delivery with the rules that they break.

    Parameters
    ----------
    rows : polars.DataFrame
        The rows, in the same order. An open, high or low of zero or less is null where prices are positive.
    rule : polars.Series
        Per row the first rule that keeps it from being stored, else null.
    flags : polars.DataFrame
        row (its number; null for a flag of the panel), series_id, time, rule: rows that are stored and flagged. A rule
        of the panel names a series and its last session, or the whole feed (series_id null).
    counts : dict of str to int
        Rows that break each rule which is not off, zero included, whatever else they break. ``missing_sessions`` counts
        sessions, ``zero_open_high_low`` values set to null.
    failed : tuple of str
        Rules of action "fail" that were broken.
    """

    rows: pl.DataFrame
    rule: pl.Series
    flags: pl.DataFrame
    counts: dict[str, int]
    failed: tuple[str, ...]

    @property
    def doubts(self) -> dict[str, int]:
        """Stored rows that break each rule; of missing_sessions the sessions; and the values set to null."""
        found = dict(self.flags["rule"].value_counts().sort("rule").iter_rows())
        sessions = {"missing_sessions": self.counts["missing_sessions"]} if "missing_sessions" in found else {}
        cleaned = self.counts["zero_open_high_low"]
        return found | sessions | ({"zero_open_high_low": cleaned} if cleaned else {})

    def refuse_failed(self, source: str) -> None:
        """Stop if a rule of action "fail" was broken.

        Parameters
        ----------
        source : str
            Name of the source in the message.

        Raises
        ------
        SourceError
            Names the rules and how many rows break each.
        """
        if not self.failed:
            return
        broken = ", ".join(f"{self.counts[name]:,} {name}" for name in self.failed)
        raise SourceError(
            f'Every row must keep the rules of action "fail"; {source} breaks them: {broken}. Nothing was stored. '
            "Fix the source, or set another action in [tool.tidecast.rules]."
        )


def check_rows(
    rows: pl.DataFrame, history: pl.DataFrame, calendar: Calendar | PanelCalendar, settings: Settings,
    today: date | None = None, ends: bool = True,
) -> Checked:  # fmt: skip
    """Check rows against the rules. Their order matters only among rows of one session with the same close.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id (String), time (Date), close (Float64), each null where it could not be read; present (Boolean):
        whether the price's cell held anything. Optional: open, high, low, volume, known_at (rows that differ in it may
        share a key), dividend, split_ratio, adj_close, undated and unread (as in a `Delivery`), and columns that a
        user's schema names.
    history : polars.DataFrame
        series_id, time, close and other known values of the same series before and between the rows, 63 sessions or
        more before the first of each; may be empty. Series without incoming rows are checked for staleness only.
    calendar : Calendar or PanelCalendar
        The sessions, of all series or of each.
    settings : Settings
        `positive`, `rules` (actions), `rules_schema`.
    today : date or None
        Prices of later days cannot be known yet, and a feed that ends well before is stale. None: not checked.
    ends : bool, default=True
        Whether the source has no later prices. A feed that goes on is not stale, however old these rows are.

    Returns
    -------
    Checked

    Raises
    ------
    SettingsError
        The user's schema cannot be imported, or a rule cannot have its action.
    """
    calendar = _per_series(calendar)
    schema = rules_schema(settings)
    names = rule_names(schema)
    actions = actions_in_force(settings.rules, tuple(name for name in names if name not in DEFAULT_ACTIONS))
    names = tuple(name for name in names if actions[name] != OFF)
    prepared, cleaned = _prepared(rows, schema, calendar, settings.positive, today)
    broken = _broken(prepared, history, calendar, schema, names, settings.positive)
    rejected = _rejected(broken, [name for name in names if actions[name] in (QUARANTINE, FAIL)])
    rule = prepared.select("row").join(rejected, on="row", how="left", maintain_order="left")["rule"]
    late = stale(prepared.filter(rule.is_null()), history, calendar, today if ends else None)
    late = late.filter(pl.col("rule").replace_strict(actions) != OFF)
    counts = _counts(broken, late, actions, names) | {"zero_open_high_low": cleaned}
    return Checked(
        rows=rows.with_columns(prepared.select(name for name in ("open", "high", "low") if name in rows.columns)),
        rule=rule,
        flags=_flags(broken.join(rejected, on="row", how="anti"), late, actions, names),
        counts=counts,
        failed=tuple(name for name, count in counts.items() if count and actions.get(name) == FAIL),
    )


def _rejected(broken: pl.DataFrame, stops: Sequence[str]) -> pl.DataFrame:
    """Rows that may not be stored: row, rule (the first one of `stops` that it breaks)."""
    first = pl.coalesce(pl.when(pl.col(name)).then(pl.lit(name)) for name in stops)
    return broken.filter(pl.any_horizontal(pl.lit(False), *stops)).select("row", rule=first)


def _flags(broken: pl.DataFrame, late: pl.DataFrame, actions: Mapping[str, str], names: Sequence[str]) -> pl.DataFrame:
    """Flags of stored rows, per rule, and those of the panel: row, series_id, time, rule."""
    of_rows = [broken.filter(name).select("row", *KEY, rule=pl.lit(name)) for name in names if actions[name] == FLAG]
    of_panel = late.filter(pl.col("rule").replace_strict(actions) == FLAG)
    return pl.concat([*(of_rows or [pl.DataFrame(schema=FLAGS)]), of_panel]).sort("series_id", "time", "rule", "row")


def _counts(
    broken: pl.DataFrame, late: pl.DataFrame, actions: Mapping[str, str], names: Sequence[str]
) -> dict[str, int]:
    """Rows that break each rule in force; of missing_sessions, the sessions."""
    counts = {name: int(broken[name].sum()) for name in names}
    if "missing_sessions" in counts:
        counts["missing_sessions"] = int(broken.filter("missing_sessions")["missed"].sum())
    return counts | {name: late.filter(rule=name).height for name in PANEL_ACTIONS if actions[name] != OFF}


def can_be_prices(
    rows: pl.DataFrame, calendar: Calendar | PanelCalendar, positive: bool, today: date | None = None
) -> pl.Series:
    """Whether each row can be a price at all, judged by itself and by the rows of the same key.

    Parameters
    ----------
    rows, calendar, today
        As of `check_rows`.
    positive : bool
        Whether prices must lie above zero.

    Returns
    -------
    polars.Series of Boolean
    """
    prepared, _ = _prepared(rows, PriceRules, _per_series(calendar), positive, today)
    return prepared["usable"]


def _per_series(calendar: Calendar | PanelCalendar) -> PanelCalendar:
    return PanelCalendar(calendar) if isinstance(calendar, Calendar) else calendar


def _prepared(
    rows: pl.DataFrame, schema: type[PriceRules], calendar: PanelCalendar, positive: bool, today: date | None
) -> tuple[pl.DataFrame, int]:
    """The rows with all columns of the schema, and how many opens, highs and lows were set to null.

    Measures are null. `usable`: the row can be a price at all.
    """
    prepared = _with_columns_of(schema, rows).with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        positive=pl.lit(positive),
        today=pl.lit(today, pl.Date),
        session=pl.Series(calendar.is_session(rows)),
        **({} if "present" in rows.columns else {"present": pl.col("close").is_not_null()}),
    )
    cleaned = 0
    if positive:
        ranges = ("open", "high", "low")
        cleaned = int(prepared.select(pl.sum_horizontal((pl.col(ranges) <= 0).fill_null(False)).sum()).item())
        prepared = prepared.with_columns(pl.when(pl.col(name) > 0).then(name).alias(name) for name in ranges)
    usable = [
        pl.col("series_id").is_not_null(),
        (pl.col("time") <= (today or date.max)).fill_null(False),
        pl.col("session") & pl.col("present"),
        ~pl.col("undated").fill_null(False),
        pl.col("close").is_finite().fill_null(False),
        (pl.col("close") > 0).fill_null(False) | ~pl.col("positive"),
    ]
    return _with_repetitions(prepared.with_columns(usable=pl.all_horizontal(usable))), cleaned


def _with_columns_of(schema: type[PriceRules], rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with every column of the schema: null where they lack it, a user's column under its own name."""
    missing = {name: column.dtype for name, column in schema.columns().items() if name not in rows.columns}
    of_user = {name: with_prefix(name) for name in missing if name not in PriceRules.column_names()}
    of_user = {name: prefixed for name, prefixed in of_user.items() if prefixed in rows.columns}
    return rows.with_columns(
        *(pl.lit(None, dtype).alias(name) for name, dtype in missing.items() if name not in of_user),
        *(pl.col(prefixed).alias(name) for name, prefixed in of_user.items()),
    )


def _with_repetitions(prepared: pl.DataFrame) -> pl.DataFrame:
    """Add `copy`, how many rows with the same key and close follow, and `versions`, how many closes a key has.

    Of rows with the same close, the last one counts: a second row for a session corrects the rest of the first.
    """
    key = [*KEY, "known_at"]
    same = [*key, "close"]
    usable = prepared.filter("usable")
    repeated = usable.filter(usable.select(key).is_duplicated()).select("row", *same)
    counted = repeated.with_columns(copy=pl.len().over(same).cast(pl.Int64) - 1 - pl.int_range(pl.len()).over(same))
    counted = counted.with_columns(versions=(pl.col("copy") == 0).sum().over(key).cast(pl.Int64))
    prepared = prepared.drop("copy", "versions").join(
        counted.select("row", "copy", "versions"), on="row", how="left", maintain_order="left"
    )
    unique = pl.col("usable") & (pl.col("copy").fill_null(0) == 0) & (pl.col("versions").fill_null(1) == 1)
    return prepared.with_columns(usable=unique)


def _broken(
    prepared: pl.DataFrame,
    history: pl.DataFrame,
    calendar: PanelCalendar,
    schema: type[PriceRules],
    names: Sequence[str],
    positive: bool,
) -> pl.DataFrame:
    """Rows that break a rule: row, series_id, time, missed, and a Boolean column per rule in `names`."""
    days = _days(prepared, history) if calendar.name in ALL_DAYS_GUESSED else None
    return pl.concat(
        _failures(_measured(block, history, calendar, positive, days), schema, names)
        for block in _blocks(prepared, prepared.height + history.height)
    )


def _days(prepared: pl.DataFrame, history: pl.DataFrame) -> pl.Series:
    """Days on which the panel has any price, in order."""
    parts = [prepared.filter("usable")["time"], *([] if history.is_empty() else [history["time"]])]
    return pl.concat([part.unique() for part in parts]).unique().sort()


def _blocks(prepared: pl.DataFrame, count: int) -> Sequence[pl.DataFrame]:
    """The rows in blocks of whole series; as many blocks as `count` rows need."""
    n_blocks = -(-count // BLOCK)
    if n_blocks <= 1:
        return [prepared]
    block = pl.col("series_id").hash(0) % n_blocks
    return prepared.with_columns(block=block.fill_null(0)).partition_by("block", include_key=False)


def _measured(
    block: pl.DataFrame, history: pl.DataFrame, calendar: PanelCalendar, positive: bool, days: pl.Series | None
) -> pl.DataFrame:
    """The rows with their measures. Of several revisions of a row, the last known one belongs to the series."""
    newest = block.filter("usable").sort("known_at").unique(KEY, keep="last")
    measures = measures_of(newest, history, positive, days, calendar, block.filter(~pl.col("usable")))
    usable = block.filter("usable")
    usable = usable.drop([name for name in measures.columns if name in usable.columns and name not in KEY])
    usable = usable.join(measures, on=KEY, how="left")
    change = pl.col("close") - pl.col("previous")
    if positive:
        revised = (pl.col("close") / pl.col("last")).log()
        powers = (revised / HUNDRED).round()
        off = pl.when((revised - powers * HUNDRED).abs() <= 0.25).then(powers).otherwise(0).cast(pl.Int64)
        usable = usable.with_columns(units=pl.col("units") + off, step=pl.col("step") + off)
        change = (pl.col("close") / pl.col("previous")).log() - pl.col("step") * HUNDRED
    usual = pl.col("sigma") * pl.col("sessions").clip(1).sqrt()
    usable = usable.with_columns(change=change).with_columns(sigmas=(pl.col("change") + pl.col("undone")) / usual)
    return pl.concat([usable, block.filter(~pl.col("usable"))], how="diagonal_relaxed")


def _failures(block: pl.DataFrame, schema: type[PriceRules], names: Sequence[str]) -> pl.DataFrame:
    columns = {name: column.dtype for name, column in schema.columns().items()}
    _, failures = schema.filter(block.select(pl.col(name).cast(dtype) for name, dtype in columns.items()))
    return failures.details().select("row", *KEY, "missed", *(pl.col(name) == "invalid" for name in names))
