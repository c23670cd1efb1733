"""Print decisions on the champion, and results of backtests."""

from typing import Any

import polars as pl
from rich.console import Console

from tidecast.flows.cli.terminal import facts, table
from tidecast.flows.reporting.comparison_text import AGAINST, BY_STEP, MEDIAN, SKILL, fit_columns, skill_columns
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.training.backtest_panel import Backtested
from tidecast.forecasting.evaluation.decision import p_value, skill_text


def show_decisions(out: Console, decisions: pl.DataFrame) -> None:
    """Print a line per decision, and the reason of the last.

    Parameters
    ----------
    out : Console
        Where to print.
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    """
    if decisions.is_empty():
        out.print("There are no decisions yet. The first training decides: tidecast run")
        return
    rows = decisions.to_dicts()
    heads = [
        "session",
        "outcome",
        "winner",
        "version",
        "in place of",
        "candidate",
        SKILL,
        "p",
        "gates",
        "by",
    ]
    out.print(table(heads, [_line(row) for row in rows], whole=[SKILL]))
    out.print()
    facts(out, [("Last", rows[-1]["reason"]), ("", "The table decisions has all numbers, recipes and the policy.")])


def print_backtest(out: Console, found: Backtested) -> None:
    """Print two tables per period, and which origins they judge.

    Parameters
    ----------
    out : Console
        Where to print.
    found : Backtested
    """
    for period, compared in found.compared.items():
        if len(found.compared) > 1:
            out.print(f"\n{period.capitalize()}:")
        for drawn in backtest_tables(compared):
            out.print()
            out.print(drawn)
    facts(out, [("Judged", found.judged)])


def backtest_tables(compared: pl.DataFrame) -> list[Any]:
    """Return two tables, the best model first: skill with its 95 % interval, and how the distribution fits.

    Parameters
    ----------
    compared : polars.DataFrame
        As `forecasting.comparison` returns it.
    """
    skills, fits = skill_columns(compared), fit_columns(compared)
    return [
        table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)], whole=whole)
        for columns, whole in ((skills, [SKILL, MEDIAN, AGAINST]), (fits, [BY_STEP]))
    ]


def _line(row: dict[str, Any]) -> list[str]:
    version = row["champion_version"]
    replaced = f"{readable(row['champion'])}, {version}" if version else ""
    judged = row["n_origins"] is not None
    skill = _skill({**row, "distribution": row["distribution_skill"]}, "distribution") if judged else ""
    return [
        str(row["as_of"]), row["outcome"], readable(row["winner"]), row["version"], replaced,
        readable(row["candidate"] or ""), skill,
        _p(row["distribution_p"]) if judged and row["distribution_p"] is not None else "",
        str(row["gates_before"]), row["by"],
    ]  # fmt: skip


def _skill(row: dict[str, Any], name: str) -> str:
    """The skill `name` of a row with its interval, ``NAME_low`` to ``NAME_high``."""
    ends = name if f"{name}_low" in row else name.removesuffix("_skill")
    return skill_text(row[name], row.get(f"{ends}_low"), row.get(f"{ends}_high"), unit=False)


def _p(p: float) -> str:
    """A p-value without its name: "0.028" or "< 0.001"."""
    return p_value(p).removeprefix("p ").removeprefix("= ")
