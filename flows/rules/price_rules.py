"""Rules that a price must keep, as a dataframely schema; `tidecast.flows.rules.check` applies them.

A rule is a method that returns an expression, true where a row keeps it. It sees the row's own values and its measures
(`tidecast.flows.rules.measures`). A user's schema is a subclass with more rules; docs/rules.md has an example.
"""

import importlib
import math

import dataframely as dy
import polars as pl

from tidecast.features.error_text import ended
from tidecast.flows.config.rule_actions import DEFAULT_ACTIONS
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError
from tidecast.flows.rules.measures import LASTING

JUMP = 12.0
"""Robust sigmas beyond which a change is a jump."""

ONCE_IN_A_MILLION = math.log(1e-6)
ROUNDING = 1e-6


def _text() -> dy.String:
    return dy.String(nullable=True)


def _number() -> dy.Float64:
    return dy.Float64(nullable=True, allow_inf=True, allow_nan=True)


class PriceRules(dy.Schema):
    """Columns of a price row, and the rules it must keep.

    Columns up to `unread` are the row's own, null where the source has none or the value cannot be read. The others are
    computed from the panel and the series' past. Rules apply in the order of `DEFAULT_ACTIONS`, a user's own last. A
    rule that is null counts as kept.
    """

    row = dy.Int64(nullable=True)
    series_id = _text()
    time = dy.Date(nullable=True)
    present = dy.Bool(nullable=True)  # the price's cell held anything
    close = _number()
    open = _number()
    high = _number()
    low = _number()
    volume = _number()
    dividend = _number()
    split_ratio = _number()
    adj_close = _number()
    known_at = dy.Date(nullable=True)
    undated = dy.Bool(nullable=True)  # a known_at was there and cannot be read
    unread = dy.Bool(nullable=True)  # a number other than the close was there and cannot be used

    positive = dy.Bool(nullable=True)  # prices of this panel lie above zero
    today = dy.Date(nullable=True)
    session = dy.Bool(nullable=True)  # the calendar has this day
    copy = dy.Int64(nullable=True)  # how many rows of the same session and close follow
    versions = dy.Int64(nullable=True)  # different closes of the same session
    previous = _number()  # the close before
    sessions = dy.Int64(nullable=True)  # since then; 1 is the next one
    change = _number()  # since then: log return, or difference where prices need not be positive
    sigma = _number()  # robust, of one session
    sigmas = _number()  # the change, in robust sigmas of the sessions it took
    units = dy.Int64(nullable=True)  # powers of a hundred off the series' level
    repeats = dy.Int64(nullable=True)  # rows in a row without a move
    still = _number()  # share of such rows among the 62 before
    missed = dy.Int64(nullable=True)  # sessions left out before this row
    off_split = dy.Bool(nullable=True)  # the price does not show a split, or is on another basis near one
    split_in_doubt = dy.Bool(nullable=True)  # the source found such a split itself and kept the price as quoted
    split = _number()  # log of this day's split ratio
    undone = _number()  # log of the splits that the price shows on this row
    unpaid = dy.Bool(nullable=True)  # the price does not show a dividend
    typical_yield = _number()  # the series' median dividend divided by its price
    paid_before = dy.Int64(nullable=True)  # rows since the same dividend
    adjustment = _number()  # log error of the adjusted close's step

    @dy.rule()
    def no_series_id(cls) -> pl.Expr:
        """The row names its series."""
        return pl.col("series_id").is_not_null()

    @dy.rule()
    def unreadable_time(cls) -> pl.Expr:
        """The time can be read."""
        return pl.col("time").is_not_null()

    @dy.rule()
    def unreadable_known_at(cls) -> pl.Expr:
        """Without it, the price would count as known on its own day."""
        return ~pl.col("undated")

    @dy.rule()
    def in_the_future(cls) -> pl.Expr:
        """The day is not after today."""
        return pl.col("time") <= pl.col("today")

    @dy.rule()
    def not_a_session(cls) -> pl.Expr:
        """The series' calendar has this day."""
        return pl.col("session")

    @dy.rule()
    def missing_price(cls) -> pl.Expr:
        """The price's cell holds something."""
        return pl.col("present")

    @dy.rule()
    def unreadable_price(cls) -> pl.Expr:
        """The price can be read."""
        return pl.col("close").is_not_null() | ~pl.col("present")

    @dy.rule()
    def not_finite(cls) -> pl.Expr:
        """The close is finite."""
        return pl.col("close").is_finite()

    @dy.rule()
    def not_positive(cls) -> pl.Expr:
        """The close is above zero, unless prices of the panel need not be."""
        return (pl.col("close") > 0) | ~pl.col("positive")

    @dy.rule()
    def conflicting_duplicate(cls) -> pl.Expr:
        """Rows of one series and session do not have different closes: none of those can be trusted."""
        return pl.col("versions") <= 1

    @dy.rule()
    def duplicate(cls) -> pl.Expr:
        """The row is the last one of its session with this close."""
        return pl.col("copy") == 0

    @dy.rule()
    def unit_error(cls) -> pl.Expr:
        """The close is not in pence where the series is in pounds, or the other way round."""
        return pl.col("units") == 0

    @dy.rule()
    def unreadable_value(cls) -> pl.Expr:
        """Every number besides the close can be used: volume, dividend and split ratio are not below 0, and a dividend
        comes with a price above 0."""
        return ~pl.col("unread")

    @dy.rule()
    def ohlc_order(cls) -> pl.Expr:
        """Open and close lie between low and high."""
        least, most = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
        above = (least >= pl.col("low") * (1 - ROUNDING)) | (pl.col("low") <= 0)
        return above.fill_null(True) & (most <= pl.col("high") * (1 + ROUNDING)).fill_null(True)

    @dy.rule()
    def ohlc_unit(cls) -> pl.Expr:
        """Open, high and low are in the close's unit: no price moves 50-fold within a day."""
        within = [(pl.col(name) / pl.col("close")).log().abs() <= math.log(50) for name in ("open", "high", "low")]
        return ~pl.col("positive") | pl.all_horizontal(each.fill_null(True) for each in within)

    @dy.rule()
    def jump(cls) -> pl.Expr:
        """The change is within 12 robust sigmas."""
        return pl.col("sigmas").abs() <= JUMP

    @dy.rule()
    def stale_quote(cls) -> pl.Expr:
        """The run of equal prices is one that the series' own habit makes likelier than one in a million."""
        habit = (pl.col("still") * LASTING + 1) / (LASTING + 2)
        return (pl.col("repeats") < 5) | (pl.col("repeats") * habit.log() >= ONCE_IN_A_MILLION)

    @dy.rule()
    def missing_sessions(cls) -> pl.Expr:
        """The series left out no session before this row."""
        return pl.col("missed") == 0

    @dy.rule()
    def split_not_applied(cls) -> pl.Expr:
        """The price moves by a split on the split's day, and not by its size on a day near it."""
        return ~(pl.col("off_split").fill_null(False) | pl.col("split_in_doubt").fill_null(False))

    @dy.rule()
    def dividend_unit(cls) -> pl.Expr:
        """The price fell by at least half of a large dividend; dividends are not all near zero."""
        share = pl.col("dividend") / pl.col("previous")
        fall = -(1 - share).log()
        unseen = (pl.col("change") + fall) > pl.max_horizontal(fall / 2, 4 * pl.col("sigma"))
        too_much = (share >= 1) | ((share > 0.02) & unseen)
        too_little = (share > 0) & (pl.max_horizontal("typical_yield", share) < 0.0005)
        doubt = (too_much | too_little).fill_null(False) | pl.col("unpaid").fill_null(False)
        return ~(pl.col("positive") & doubt)

    @dy.rule()
    def dividend_repeated(cls) -> pl.Expr:
        """The same dividend was not paid within 15 rows. Monthly dividends are about 20 apart."""
        return pl.col("paid_before") > 15

    @dy.rule()
    def adjusted_close(cls) -> pl.Expr:
        """The source's adjusted close follows from its close, dividend and split, to a thousandth."""
        return pl.col("adjustment") <= 1e-3


def rules_schema(settings: Settings) -> type[PriceRules]:
    """Return the schema whose rules apply: `PriceRules`, or the user's own.

    Parameters
    ----------
    settings : Settings
        `rules_schema`: "package.module:Class" of a subclass, or None.

    Raises
    ------
    SettingsError
        The class cannot be imported, or is not a subclass of `PriceRules`.
    """
    if settings.rules_schema is None:
        return PriceRules
    module, _, name = settings.rules_schema.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"rules_schema must name a class that can be imported, like 'package.module:Class', got "
            f"{settings.rules_schema!r}: {ended(error)} Install the package, or correct the name."
        ) from None
    if not (isinstance(found, type) and issubclass(found, PriceRules)):
        raise SettingsError(
            f"rules_schema must name a subclass of tidecast.flows.rules.PriceRules, but {settings.rules_schema!r} is "
            "not one. Let it inherit from PriceRules."
        )
    return found


def rule_names(schema: type[PriceRules]) -> tuple[str, ...]:
    """Return the names of a schema's rules in the order they are applied, a user's own last.

    Parameters
    ----------
    schema : type of PriceRules
    """
    _, failures = schema.filter(schema.create_empty())
    columns = set(schema.column_names())
    own = [name for name in failures.details().columns if name not in columns and name not in DEFAULT_ACTIONS]
    return (*DEFAULT_ACTIONS, *own)
