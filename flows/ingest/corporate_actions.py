"""Splits and dividends of a delivery: new ones, as rows of the table `actions`."""

import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.flows.ingest.revisions import KEY, compare
from tidecast.flows.warehouse.schema import PRICE_KEY

NO_ACTION = {"split_ratio": 1.0, "dividend": 0.0}
"""Values that mean no action."""


def stated_actions(good: pl.DataFrame, bad: pl.DataFrame) -> pl.DataFrame:
    """Actions that a delivery states, once for each series, session and known_at.

    Actions of rows in quarantine count too: only their price or day is wrong, and without their split the next return
    would be wrong. If rows in quarantine disagree, none of them counts.

    Parameters
    ----------
    good, bad : polars.DataFrame
        Rows that may be stored, and rows that may not, of a known series and a day that has come: series_id, time,
        known_at; split_ratio and dividend if the source has them.

    Returns
    -------
    polars.DataFrame
        The same columns. Of several rows the one with an action, else the good one.
    """
    names = [name for name in NO_ACTION if name in good.columns]
    columns = [*PRICE_KEY, *names]
    acts = pl.any_horizontal(_action(name, good) != NO_ACTION[name] for name in names)
    of_bad = bad.select(*columns, acts=acts, rank=1)
    of_bad = of_bad.filter(pl.col("acts") | pl.all_horizontal(pl.col(names).is_not_null()))
    if of_bad.is_empty():
        return good.select(columns)
    agree = pl.struct(names).filter("acts").n_unique().over(PRICE_KEY) <= 1
    rivals = good.join(of_bad, on=PRICE_KEY, how="semi").select(*columns, acts=acts, rank=0)
    chosen = pl.concat([rivals, of_bad.filter(agree)]).sort("acts", "rank", descending=[True, False])
    chosen = chosen.unique(PRICE_KEY, keep="first", maintain_order=True).select(columns)
    return pl.concat([good.select(columns).join(chosen, on=PRICE_KEY, how="anti"), chosen])


def new_actions(rows: pl.DataFrame, revisions: pl.DataFrame) -> pl.DataFrame:
    """New and corrected actions. One that the source takes back becomes "no action", known from then on.

    Parameters
    ----------
    rows : polars.DataFrame
        As of `stated_actions`: series_id, time, known_at; split_ratio and dividend if the source has them.
    revisions : polars.DataFrame
        Every stored revision of the actions of these series and sessions.

    Returns
    -------
    polars.DataFrame
        series_id, time, known_at, split_ratio, dividend.
    """
    if not set(NO_ACTION) & set(rows.columns):
        return pl.DataFrame(
            schema={**{name: rows.schema[name] for name in PRICE_KEY}, **dict.fromkeys(NO_ACTION, pl.Float64)}
        )
    stated = rows.select(*PRICE_KEY, *(_action(name, rows) for name in NO_ACTION))
    acts = pl.any_horizontal(pl.col(name) != nothing for name, nothing in NO_ACTION.items())
    touched = pl.concat([stated.filter(acts).select(KEY), revisions.select(KEY)]).unique()
    compared = compare(stated.join(touched, on=KEY, how="semi"), revisions, tuple(NO_ACTION))
    new = (pl.col("status") == "corrected") | ((pl.col("status") == "stored") & acts)
    return compared.filter(new).select(*PRICE_KEY, *NO_ACTION)


def _action(name: str, rows: pl.DataFrame) -> pl.Expr:
    """The column with its value for no action where it is empty, zero or below."""
    nothing = pl.lit(NO_ACTION[name])
    if name not in rows.columns:
        return nothing.alias(name)
    value = pl.col(name).fill_nan(None)
    return pl.when(value > 0).then(value).otherwise(nothing).alias(name)


def messages_of(actions: pl.DataFrame) -> list[str]:
    """Describe new actions for the log; empty if there are none.

    Parameters
    ----------
    actions : polars.DataFrame
        As of `new_actions`.
    """
    if actions.is_empty():
        return []
    splits = actions.filter(pl.col("split_ratio") != 1).sort("time", descending=True)
    dividends = actions.filter(pl.col("dividend") != 0).height
    named = shorten([f"{row['series_id']} {row['split_ratio']:g} on {row['time']}" for row in splits.to_dicts()], 3)
    which = f" ({named})" if named else ""
    return [
        f"New actions: {counted(splits.height, 'split')}{which} and {counted(dividends, 'dividend')}. Models see "
        "earlier prices adjusted for them; the table `prices` keeps prices as quoted."
    ]
