"""Splits and dividends of a delivery: what of them is new, as rows of the table `actions`."""

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.flows.ingest.revisions import KEY, compare
from tidecast.flows.warehouse.schema import PRICE_KEY

NO_ACTION = {"split_ratio": 1.0, "dividend": 0.0}
"""What stands for no action."""


def telling(good: pl.DataFrame, bad: pl.DataFrame) -> pl.DataFrame:
    """What a delivery says of actions, once for each series, session and known_at.

    A row in quarantine has a word, too, where it says one: what is wrong is its price or its day, and without its split
    the next return would be false. Rows in quarantine that disagree have none.

    Parameters
    ----------
    good, bad : polars.DataFrame
        Rows that may be stored, and those of a known series and a day that has come that may not: series_id, time,
        known_at; split_ratio and dividend where the source has them.

    Returns
    -------
    polars.DataFrame
        The same columns. Of several rows the one that tells of an action, else the good one.
    """
    names = [name for name in NO_ACTION if name in good.columns]
    columns = [*PRICE_KEY, *names]
    acts = pl.any_horizontal(_told(name, good) != NO_ACTION[name] for name in names)
    said = bad.select(*columns, acts=acts, rank=1)
    said = said.filter(pl.col("acts") | pl.all_horizontal(pl.col(names).is_not_null()))
    if said.is_empty():
        return good.select(columns)
    one_word = pl.struct(names).filter("acts").n_unique().over(PRICE_KEY) <= 1
    beside = good.join(said, on=PRICE_KEY, how="semi").select(*columns, acts=acts, rank=0)
    told = pl.concat([beside, said.filter(one_word)]).sort("acts", "rank", descending=[True, False])
    told = told.unique(PRICE_KEY, keep="first", maintain_order=True).select(columns)
    return pl.concat([good.select(columns).join(told, on=PRICE_KEY, how="anti"), told])


def new_actions(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Actions that are new or corrected; one that the source takes back comes as no action, known from then on.

    Parameters
    ----------
    rows : polars.DataFrame
        As `telling` gives them: series_id, time, known_at; split_ratio and dividend where the source has them.
    known : polars.DataFrame
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
    told = rows.select(*PRICE_KEY, *(_told(name, rows) for name in NO_ACTION))
    acts = pl.any_horizontal(pl.col(name) != nothing for name, nothing in NO_ACTION.items())
    touched = pl.concat([told.filter(acts).select(KEY), known.select(KEY)]).unique()
    compared = compare(told.join(touched, on=KEY, how="semi"), known, tuple(NO_ACTION))
    new = (pl.col("status") == "corrected") | ((pl.col("status") == "stored") & acts)
    return compared.filter(new).select(*PRICE_KEY, *NO_ACTION)


def _told(name: str, rows: pl.DataFrame) -> pl.Expr:
    """What the source says: empty, zero and a ratio of one are no action."""
    nothing = pl.lit(NO_ACTION[name])
    if name not in rows.columns:
        return nothing.alias(name)
    value = pl.col(name).fill_nan(None)
    return pl.when(value > 0).then(value).otherwise(nothing).alias(name)


def in_words(actions: pl.DataFrame) -> list[str]:
    """What a person should be told of new actions."""
    splits = actions.filter(pl.col("split_ratio") != 1).sort("time", descending=True)
    dividends = actions.filter(pl.col("dividend") != 0).height
    if actions.is_empty():
        return []
    named = shorten([f"{row['series_id']} {row['split_ratio']:g} on {row['time']}" for row in splits.to_dicts()], 3)
    which = f" ({named})" if named else ""
    return [
        f"New actions: {splits.height:,} splits{which} and {dividends:,} dividends. Models see earlier prices as if "
        "these had always been; the table `prices` keeps them as quoted."
    ]
