"""Measures of each row against its series' past, for the rules. Causal, except where a batch shows what comes next.

All are computed on one table of history and incoming rows, sorted by series and time. A series' first row has null
measures, which break no rule.
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.features.segments import MAX_PAUSE, longest_gaps
from tidecast.flows.warehouse.schema import VALUES

WINDOW = 62
"""Changes that a row is compared with: those between the last 63 prices."""

LASTING = WINDOW + 1
"""Rows after which a quoted level is the series' level, whatever it was before."""

HUNDRED = math.log(100)
NORMAL = 1.4826
"""Standard deviation of a normal distribution divided by its median absolute deviation."""

KEY = ["series_id", "time"]
ACTIONS = ("dividend", "split_ratio", "adj_close")
NUMBERS = (*VALUES, *ACTIONS)


def sessions_in(rows: pl.DataFrame, calendar: PanelCalendar) -> pl.Series:
    """Return the session number of each row in its series' calendar; null where its time is not a session.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id, time.
    calendar : PanelCalendar
    """
    numbers = np.full(rows.height, -1, dtype=np.int64)
    session = calendar.is_session(rows.select(KEY))
    numbers[session] = calendar.numbers(rows.select(KEY).filter(pl.Series(session)))
    return pl.Series("session", numbers).set(pl.Series(~session), None)


def measures_of(
    rows: pl.DataFrame, history: pl.DataFrame, positive: bool, days: pl.Series | None, calendar: PanelCalendar,
    rejected: pl.DataFrame | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Measure each row of `rows` against the past of its series.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id, time, close and any of `NUMBERS`; one price per session, unique on the key.
    history : polars.DataFrame
        The same of rows known before. Those whose key is in `rows` are left out.
    positive : bool
        Whether prices move by log returns. Else they move by differences and have no unit.
    days : polars.Series or None
        Days on which the panel has any price, if only those can be missed; None: every session can.
    calendar : PanelCalendar
        Counts sessions.
    rejected : polars.DataFrame or None
        series_id, time, split_ratio of rows that are not prices: their splits count from the series' next price on.

    Returns
    -------
    polars.DataFrame
        Keyed by series_id and time:

        - ``last``, the close; ``previous``, the close before; ``sessions`` since then (1: the next one);
        - ``sigma``, robust, of one session's change;
        - ``step``, powers of a hundred since the row before; ``units``, powers of a hundred off the series' level;
        - ``repeats``, rows without a move so far; ``still``, share of such rows before;
        - ``missed``, sessions left out before this row;
        - ``off_split`` (Boolean), the price does not show a split of this row, or is near one and on another basis
          than the rows after it;
        - ``split``, log of a split of this day; ``undone``, log of the splits that the price shows on this row;
        - ``unpaid`` (Boolean), the price does not show a dividend;
        - ``typical_yield`` of the series' dividends; ``paid_before``, rows since the same dividend;
        - ``adjustment``, log error of the adjusted close's step.
    """
    table = _one_table(rows, history)
    table = _moves(table, positive, calendar, days)
    table = _units(table) if positive else table.with_columns(units=pl.lit(0), step=pl.lit(0))
    table = _stillness(table)
    table = _splits(table, rejected) if positive else table.with_columns(**_NO_SPLITS)
    table = _dividends(table)
    return table.filter("incoming").select(
        *KEY, pl.col("close").alias("last"), "previous", "sessions", "sigma", "step", "units", "repeats", "still",
        "missed", "off_split", "split", "undone", "unpaid", "typical_yield", "paid_before", "adjustment",
    )  # fmt: skip


def _one_table(rows: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """History and rows in one table, sorted, without the history that the rows replace.

    `trusted`: the price is in history, or comes again as it is there; its unit is right.
    """
    columns = [pl.col(name) for name in (*KEY, *NUMBERS)]

    def whole(frame: pl.DataFrame, incoming: bool) -> pl.DataFrame:
        frame = frame if "trusted" in frame.columns else frame.with_columns(trusted=pl.lit(not incoming))
        missing = [pl.lit(None, pl.Float64).alias(name) for name in NUMBERS if name not in frame.columns]
        return frame.with_columns(*missing).select(*columns, "trusted", pl.lit(incoming).alias("incoming"))

    if history.is_empty():
        return whole(rows, True).sort(KEY)
    series = rows["series_id"].unique()
    history = history.filter(pl.col("series_id").is_in(series.implode()))
    before = history.select(*KEY, before="close")
    rows = rows.join(before, on=KEY, how="left").with_columns(
        trusted=(pl.col("close") == pl.col("before")).fill_null(False)
    )
    return pl.concat([whole(history.join(rows, on=KEY, how="anti"), False), whole(rows, True)]).sort(KEY)


def _moves(table: pl.DataFrame, positive: bool, calendar: PanelCalendar, days: pl.Series | None) -> pl.DataFrame:
    """Add the change since the row before, the sessions between, and the robust sigma of one session's change.

    Sigma is the median of absolute changes, not of deviations from their median. That median is tiny next to the
    deviations, and around it every day of a crawling peg would be a jump. Days without a move are left out; else a
    series that seldom trades would jump whenever it does.
    """
    first = (pl.col("series_id") != pl.col("series_id").shift()).fill_null(True)
    price = pl.col("close")
    ratio = (price / price.shift()).log() if positive else price - price.shift()
    gap = pl.col("session") - pl.col("session").shift()
    longest = longest_gaps(calendar.marked(table.select(KEY)))
    paused = (pl.col("time") - pl.col("time").shift()) > (MAX_PAUSE if longest is None else longest)
    table = table.with_columns(sessions_in(table, calendar)).with_columns(
        first=first, change=pl.when(~first & ~paused).then(ratio), sessions=pl.when(~first).then(gap),
        previous=pl.when(~first & ~paused).then(price.shift()),
    )  # fmt: skip
    per_session = (pl.col("change") / pl.col("sessions").clip(1).sqrt()).abs()
    moved = pl.when(per_session > 0).then(per_session)
    usual = pl.col("sessions").rolling_median(WINDOW, min_samples=10).shift()
    table = table.with_columns(
        sigma=(NORMAL * moved.rolling_median(WINDOW, min_samples=10).shift()).over("series_id"),
        usual=usual.over("series_id"),
    )
    skipped = pl.col("sessions") - 1
    if days is not None:
        number = pl.Series("day_number", days.search_sorted(table["time"]))
        table = table.with_columns(number.cast(pl.Int64))
        skipped = pl.min_horizontal(skipped, pl.col("day_number") - pl.col("day_number").shift() - 1)
    missed = pl.when((pl.col("usual") == 1) & ~pl.col("first")).then(skipped)
    return table.with_columns(missed=missed.fill_null(0).cast(pl.Int64))


def _tolerance() -> pl.Expr:
    """How far a step may miss its size, as a log: four sigmas of the days between, between 0.05 and 0.25."""
    return (4 * pl.col("sigma") * pl.col("sessions").clip(1).sqrt()).fill_null(0.05).clip(0.05, 0.25)


def _units(table: pl.DataFrame) -> pl.DataFrame:
    """Add `units`, powers of a hundred by which a close is off its series' level, and `step`.

    A step is a change by a hundred, up or down, within the tolerance. A change that a split of that day explains is not
    a step; nor is one that was traded through within the day, which is a crash. Rows between two steps have one unit.
    The level is that of trusted rows, or of a run of `LASTING` rows. A batch with neither takes the unit in which most
    was traded, then quoted.
    """
    change, tolerance = pl.col("change"), _tolerance()
    powers = (change / HUNDRED).round()
    split = pl.col("split_ratio").fill_null(1.0)
    explained = ((split > 0) & (split != 1) & ((change + split.log()).abs() <= tolerance)).fill_null(False)
    walked = ((pl.col("high") / pl.col("low")).log() > HUNDRED / 2) & pl.col("close").is_between("low", "high")
    is_step = (powers.abs() == 1) & ((change - powers * HUNDRED).abs() <= tolerance) & ~explained
    step = pl.when(is_step & ~walked.fill_null(False)).then(powers).otherwise(0).fill_null(0).cast(pl.Int32)
    table = table.with_columns(step=step)
    stepping = table.filter(pl.col("step") != 0)["series_id"].unique()
    if stepping.is_empty():
        return table.with_columns(units=pl.lit(0, pl.Int32))
    runs = (
        table.filter(pl.col("series_id").is_in(stepping.implode()))
        .with_columns(unit=pl.col("step").cum_sum().over("series_id"))
        # across a pause, or a gap in what was read, the unit may have changed
        .with_columns(run=(pl.col("change").is_null() | (pl.col("step") != 0)).cum_sum())
    )
    units = _off_level(runs)
    return table.join(units, on=KEY, how="left", maintain_order="left").with_columns(pl.col("units").fill_null(0))


def _off_level(runs: pl.DataFrame) -> pl.DataFrame:
    traded = (pl.col("volume") > 0).fill_null(False)
    per_run = runs.group_by("run", maintain_order=True).agg(
        pl.col("series_id", "unit").first(), lasting=(pl.len() >= LASTING) | pl.col("trusted").any()
    )
    most = (
        runs.group_by("series_id", "unit")
        .agg(traded.sum().alias("traded"), pl.len().alias("quoted"), pl.col("time").max())
        .sort("series_id", "traded", "quoted", "time", descending=[False, True, True, True])
        .unique("series_id", keep="first", maintain_order=True)
        .select("series_id", most="unit")
    )
    level = pl.when("lasting").then("unit").forward_fill().over("series_id")
    per_run = per_run.join(most, on="series_id").select("run", level=pl.coalesce(level, "most"))
    return runs.join(per_run, on="run").select(*KEY, units=(pl.col("unit") - pl.col("level")).cast(pl.Int32))


def _stillness(table: pl.DataFrame) -> pl.DataFrame:
    """Add `repeats`, consecutive rows without a move, and `still`, the share of such rows in the window before."""
    ranged = (pl.col("high") > pl.col("low")).fill_null(False)
    still = (pl.col("change") == 0).fill_null(False) & ~ranged
    table = table.with_columns(is_still=still, position=pl.int_range(pl.len()))
    share = pl.col("is_still").cast(pl.Float64).rolling_mean(WINDOW, min_samples=20).over("series_id")
    begun = pl.when(~pl.col("is_still"))
    return table.with_columns(
        repeats=pl.col("position") - begun.then("position").forward_fill(), still=share
    ).with_columns(still=begun.then("still").forward_fill())


_NO_SPLITS = {"off_split": pl.lit(False), "split": pl.lit(0.0), "undone": pl.lit(0.0), "unpaid": pl.lit(False)}


def _splits(table: pl.DataFrame, rejected: pl.DataFrame | None) -> pl.DataFrame:
    """Add which stated splits and dividends the prices show (`shown_actions`), each price in its series' unit."""
    stated = _stated_actions(table, rejected)
    if stated.is_empty():
        return table.with_columns(**_NO_SPLITS)
    hundreds = pl.lit(100.0).pow(pl.col("units"))
    shown = look_for(table.select(*KEY, close=pl.col("close") / hundreds), stated)
    rows = table.select(*KEY, row="time").sort(KEY)
    acting = shown.actions.sort(KEY).join_asof(  # a split of a day without a price acts on the next row
        rows, on="time", by="series_id", strategy="forward", check_sortedness=False
    )
    undone = acting.drop_nulls("row").group_by("series_id", time="row").agg(undone=pl.col("split_ratio").log().sum())
    doubtful = shown.doubtful.group_by(KEY).agg(
        off_split=pl.col("split_ratio").is_not_null().any(), unpaid=pl.col("split_ratio").is_null().any()
    )
    split = stated.group_by(KEY).agg(split=pl.col("split_ratio").log().sum())
    for found in (split, undone, doubtful):
        table = table.join(found, on=KEY, how="left", maintain_order="left")
    return table.with_columns(pl.col("split", "undone").fill_null(0.0), pl.col("off_split", "unpaid").fill_null(False))


def _stated_actions(table: pl.DataFrame, rejected: pl.DataFrame | None) -> pl.DataFrame:
    """Actions that the source states, splits of rejected rows included: series_id, time, split_ratio, dividend."""
    names = ("split_ratio", "dividend")
    parts = [table.select(*KEY, *names)]
    if rejected is not None and not rejected.is_empty():
        splits = rejected.drop_nulls(KEY).select(*KEY, "split_ratio", dividend=pl.lit(None, pl.Float64))
        parts.append(splits.unique(KEY, keep="none").join(table, on=KEY, how="anti"))
    stated = pl.concat(parts).with_columns(
        pl.when(pl.col(name).is_finite() & (pl.col(name) > 0)).then(name).alias(name) for name in names
    )
    acts = (pl.col("split_ratio") != 1).fill_null(False) | pl.col("dividend").is_not_null()
    return stated.filter(acts).with_columns(pl.col("split_ratio").fill_null(1.0))


def _dividends(table: pl.DataFrame) -> pl.DataFrame:
    """Add the series' typical yield, rows since the same dividend, and the error of the adjusted close.

    From one row to the next, adjusted close / close must grow by split × (1 + dividend / close) (Quandl) or by
    1 / (1 - dividend / previous close) (Yahoo, whose close is already adjusted for splits).
    """
    empty = [name for name in ("dividend", "adj_close") if table[name].null_count() == table.height]
    paid = pl.when(pl.col("dividend") > 0).then("dividend")
    if "dividend" in empty:
        table = table.with_columns(typical_yield=pl.lit(None, pl.Float64), paid_before=pl.lit(None, pl.Int64))
    else:
        last_paid, last_position = (
            paid.forward_fill().shift(),
            pl.when(paid > 0).then("position").forward_fill().shift(),
        )
        table = table.with_columns(
            typical_yield=(paid / pl.col("previous")).median().over("series_id"),
            paid_before=pl.when(last_paid == paid).then(pl.col("position") - last_position).over("series_id"),
        )
    if "adj_close" in empty:
        return table.with_columns(adjustment=pl.lit(0.0))
    close, amount = pl.col("close"), paid.fill_null(0.0)
    factor = (pl.col("adj_close") / close).log()
    seen = pl.when(~pl.col("first")).then(factor - factor.shift())
    formulas: Sequence[pl.Expr] = [
        pl.col("split") + (1 + amount / close).log(),
        (1 + amount / close).log(),
        -(1 - amount / pl.col("previous")).log(),
    ]
    misses = pl.min_horizontal((seen - formula).abs() for formula in formulas)
    return table.with_columns(adjustment=misses)
