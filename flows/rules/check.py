"""What the rules say of the rows of a delivery: they are put beside their evidence, and each rule is asked of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.config.column_names import with_prefix
from tidecast.flows.config.rule_actions import DEFAULT_ACTIONS, FAIL, FLAG, OFF, QUARANTINE, actions_in_force
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.rules.evidence import KEY, gather
from tidecast.flows.rules.price_rules import PriceRules, rule_names, rules_schema
from tidecast.flows.rules.staleness import stale

BLOCK = 500_000
"""Rows, history included, that are checked at once: whole series, so that memory does not grow with the history."""

ALL_DAYS_GUESSED = ("weekdays", "24/7")
"""Calendars that know no holidays: there, a session that no series has is taken for one."""


@dataclass(frozen=True)
class Checked:
    """What the rules say of the rows of a delivery.

    Parameters
    ----------
    rows : polars.DataFrame
        The rows, in the same order, with opens, highs and lows that are no prices (zero or less) set to null.
    rule : polars.Series
        Per row the first rule that keeps it from being stored, else null.
    flags : polars.DataFrame
        row (its number; null for a flag of the panel), series_id, time, rule: what was stored all the same, and is
        noted. Rules of the panel name a series and its last session, or the whole feed (series_id null).
    counts : dict of str to int
        Rows that break each rule which is not off, zero included, whatever else they break; missing_sessions counts the
        sessions; ``zero_open_high_low`` the values set to null.
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
        """Rows that are stored and break each rule, of missing_sessions the sessions, and the values set to null."""
        found = dict(self.flags["rule"].value_counts().sort("rule").iter_rows())
        sessions = {"missing_sessions": self.counts["missing_sessions"]} if "missing_sessions" in found else {}
        cleaned = self.counts["zero_open_high_low"]
        return found | sessions | ({"zero_open_high_low": cleaned} if cleaned else {})

    def refuse_failed(self, source: str) -> None:
        """Stop when a rule that must never be broken was.

        Raises
        ------
        SourceError
            Naming rules, counts and the first row.
        """
        if not self.failed:
            return
        said = ", ".join(f"{self.counts[name]:,} {name}" for name in self.failed)
        raise SourceError(
            f'The rules of action "fail" must be kept by every row; {source} breaks them: {said}. Nothing was stored. '
            "Mend the source, or set another action in [tool.tidecast.rules]."
        )


def check_rows(
    rows: pl.DataFrame, history: pl.DataFrame, calendar: Calendar | PanelCalendar, settings: Settings,
    today: date | None = None,
) -> Checked:  # fmt: skip
    """What the rules say of each row. Their order matters among rows of one session that agree in the close alone.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id (String), time (Date), close (Float64), each null where it could not be read; present (Boolean):
        whether there was anything in the price's place. Optional: open, high, low, volume, known_at (rows that differ
        in it may share a key), dividend, split_ratio, adj_close, undated and unread (as in a `Delivery`), and what a
        user's schema names.
    history : polars.DataFrame
        series_id, time, close and what else is known of the same series before and between the rows, 63 sessions or
        more before the first of each; may be empty. Series of which no row came are looked at for staleness alone.
    calendar : Calendar or PanelCalendar
        What a session is, of all series or of each.
    settings : Settings
        `positive`, `rules` (actions), `rules_schema`.
    today : date or None
        Prices of later days cannot be known yet, and a feed that ends well before is stale. None: not asked.

    Raises
    ------
    SettingsError
        The user's schema cannot be imported, or the action of a rule is impossible.
    """
    calendar = _of_each(calendar)
    schema = rules_schema(settings)
    names = rule_names(schema)
    actions = actions_in_force(settings, tuple(name for name in names if name not in DEFAULT_ACTIONS))
    whole, cleaned = _whole(rows, schema, calendar, settings.positive, today)
    asked = [name for name in names if actions[name] != OFF]
    days = _days(whole, history) if calendar.name in ALL_DAYS_GUESSED else None
    evident = (
        _with_evidence(block, history, calendar, settings.positive, days)
        for block in _blocks(whole, whole.height + history.height)
    )
    broken = pl.concat([_broken(block, schema, asked) for block in evident])

    stops = [name for name in asked if actions[name] in (QUARANTINE, FAIL)]
    notes = [name for name in asked if actions[name] == FLAG]
    first = broken.filter(pl.any_horizontal(pl.lit(False), *stops)).select(
        "row", rule=pl.coalesce(pl.when(pl.col(name)).then(pl.lit(name)) for name in stops)
    )
    rule = whole.select("row").join(first, on="row", how="left", maintain_order="left")["rule"]
    flags = broken.join(first, on="row", how="anti")
    flags = pl.concat(
        [flags.filter(name).select("row", *KEY, rule=pl.lit(name)) for name in notes]
        or [pl.DataFrame(schema={"row": pl.Int64, "series_id": pl.String, "time": pl.Date, "rule": pl.String})]
    )
    counts = {name: int(broken[name].sum()) for name in asked}
    if "missing_sessions" in counts:
        counts["missing_sessions"] = int(broken.filter("missing_sessions")["missed"].sum())
    late = stale(whole.filter(rule.is_null()), history, calendar, today)
    late = late.filter(pl.col("rule").replace_strict(actions) != OFF)
    counts |= {name: late.filter(rule=name).height for name in ("stale_series", "stale_feed") if actions[name] != OFF}
    counts["zero_open_high_low"] = cleaned
    noted = pl.concat([flags, late.filter(pl.col("rule").replace_strict(actions) == FLAG)])
    return Checked(
        rows=rows.with_columns(whole.select(name for name in ("open", "high", "low") if name in rows.columns)),
        rule=rule,
        flags=noted.sort("series_id", "time", "rule", "row"),
        counts=counts,
        failed=tuple(name for name, count in counts.items() if count and actions.get(name) == FAIL),
    )


def can_be_prices(
    rows: pl.DataFrame, calendar: Calendar | PanelCalendar, positive: bool, today: date | None = None
) -> pl.Series:
    """Whether each row can be a price of the panel at all, looking at nothing but itself and rows of its key."""
    whole, _ = _whole(rows, PriceRules, _of_each(calendar), positive, today)
    return whole["usable"]


def _of_each(calendar: Calendar | PanelCalendar) -> PanelCalendar:
    return PanelCalendar(calendar) if isinstance(calendar, Calendar) else calendar


def _whole(
    rows: pl.DataFrame, schema: type[PriceRules], calendar: PanelCalendar, positive: bool, today: date | None
) -> tuple[pl.DataFrame, int]:
    """The rows with every column that the schema has (null where there is no evidence yet), and how often an open,
    high or low was no price. `usable` is whether a row can be a price at all."""
    empty = {name: column.dtype for name, column in schema.columns().items() if name not in rows.columns}
    own = [name for name in empty if name not in PriceRules.column_names()]  # of a user's rules
    asked = {name: with_prefix(name) for name in own if with_prefix(name) in rows.columns}
    whole = rows.with_columns(
        *(pl.lit(None, dtype).alias(name) for name, dtype in empty.items() if name not in asked),
        *(pl.col(inside).alias(name) for name, inside in asked.items()),
    ).with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        positive=pl.lit(positive),
        today=pl.lit(today, pl.Date),
        session=pl.Series(calendar.is_session(rows)),
        **({} if "present" in rows.columns else {"present": pl.col("close").is_not_null()}),
    )
    cleaned = 0
    if positive:
        no_price = [(pl.col(name) <= 0).fill_null(False) for name in ("open", "high", "low")]
        cleaned = int(whole.select(pl.sum_horizontal(no_price).sum()).item())
        whole = whole.with_columns(pl.when(pl.col(name) > 0).then(name).alias(name) for name in ("open", "high", "low"))
    usable = [
        pl.col("series_id").is_not_null(),
        (pl.col("time") <= (today or date.max)).fill_null(False),
        pl.col("session") & pl.col("present"),
        ~pl.col("undated").fill_null(False),
        pl.col("close").is_finite().fill_null(False),
        (pl.col("close") > 0).fill_null(False) | ~pl.col("positive"),
    ]
    return _repetitions(whole.with_columns(usable=pl.all_horizontal(usable))), cleaned


def _repetitions(whole: pl.DataFrame) -> pl.DataFrame:
    """With `copy`, how many rows with the same key and close follow, and `versions`, how many closes a key has.

    Of rows that agree in the close, the last one is right about the rest: a second row for a session corrects it.
    """
    key = [*KEY, "known_at"]
    same = [*key, "close"]
    usable = whole.filter("usable")
    repeated = usable.filter(usable.select(key).is_duplicated()).select("row", *same)
    counted = repeated.with_columns(copy=pl.len().over(same).cast(pl.Int64) - 1 - pl.int_range(pl.len()).over(same))
    counted = counted.with_columns(versions=(pl.col("copy") == 0).sum().over(key).cast(pl.Int64))
    whole = whole.drop("copy", "versions").join(
        counted.select("row", "copy", "versions"), on="row", how="left", maintain_order="left"
    )
    unique = pl.col("usable") & (pl.col("copy").fill_null(0) == 0) & (pl.col("versions").fill_null(1) == 1)
    return whole.with_columns(usable=unique)


def _days(whole: pl.DataFrame, history: pl.DataFrame) -> pl.Series:
    """The days on which the panel has any price, rising."""
    parts = [whole.filter("usable")["time"], *([] if history.is_empty() else [history["time"]])]
    return pl.concat([part.unique() for part in parts]).unique().sort()


def _blocks(whole: pl.DataFrame, rows: int) -> Sequence[pl.DataFrame]:
    """The rows in parts of whole series; as many parts as so many rows need."""
    parts = -(-rows // BLOCK)
    if parts <= 1:
        return [whole]
    part = pl.col("series_id").hash(0) % parts
    return whole.with_columns(part=part.fill_null(0)).partition_by("part", include_key=False)


def _with_evidence(
    block: pl.DataFrame, history: pl.DataFrame, calendar: PanelCalendar, positive: bool, days: pl.Series | None
) -> pl.DataFrame:
    """The rows with what their series did before; of several revisions of a row, the last known is the series."""
    judged = block.filter("usable").sort("known_at").unique(KEY, keep="last")
    found = gather(judged, history, positive, days, calendar, block.filter(~pl.col("usable")))
    usable = block.filter("usable")
    usable = usable.drop([name for name in found.columns if name in usable.columns and name not in KEY])
    usable = usable.join(found, on=KEY, how="left")
    change = pl.col("close") - pl.col("previous")
    if positive:
        revised = (pl.col("close") / pl.col("last")).log()
        powers = (revised / math.log(100)).round()
        off = pl.when((revised - powers * math.log(100)).abs() <= 0.25).then(powers).otherwise(0).cast(pl.Int64)
        usable = usable.with_columns(units=pl.col("units") + off, step=pl.col("step") + off)
        change = (pl.col("close") / pl.col("previous")).log() - pl.col("step") * math.log(100)
    usual = pl.col("sigma") * pl.col("sessions").clip(1).sqrt()
    usable = usable.with_columns(change=change).with_columns(sigmas=(pl.col("change") + pl.col("undone")) / usual)
    rest = block.filter(~pl.col("usable"))
    return pl.concat([usable, rest], how="diagonal_relaxed")


def _broken(block: pl.DataFrame, schema: type[PriceRules], asked: Sequence[str]) -> pl.DataFrame:
    """Of the rows that break a rule: row, series_id, time, missed, and a Boolean column per rule that is asked."""
    columns = {name: column.dtype for name, column in schema.columns().items()}
    _, failures = schema.filter(block.select(pl.col(name).cast(dtype) for name, dtype in columns.items()))
    return failures.details().select("row", *KEY, "missed", *(pl.col(name) == "invalid" for name in asked))
