"""Print decisions on the champion, and results of backtests."""

from typing import Any

import polars as pl
from rich.console import Console

from tidecast.flows.cli.terminal import facts, table
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.training.backtest_panel import Backtested
from tidecast.forecasting.evaluation.decision import p_value, skill_text
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

SKILL, MEDIAN = "distribution, % (95 %)", "median, % (95 %)"


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


def backtest_table(found: Backtested) -> Any:
    """Return a table, the best model first: skill against the random walk and its 95 % interval, in per cent.

    Parameters
    ----------
    found : Backtested
    """
    loss = loss_in(found.summary.columns)
    pooled = found.summary.filter(pl.col("group") == "pooled").sort(loss, nulls_last=True)
    rows = [
        [
            readable(row["model"]), f"{row[loss]:.4f}", _skill(row, "skill"),
            "" if row["p"] is None or row["model"] == RANDOM_WALK else _p(row["p"]),
            _skill(row, "ae_skill"), f"{100 * row['coverage']:.1f}",
        ]
        for row in pooled.iter_rows(named=True)
    ]  # fmt: skip
    return table(["model", loss, SKILL, "p", MEDIAN, "coverage, %"], rows, whole=[SKILL, MEDIAN])


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
    return skill_text(row[name], row.get(f"{name}_low"), row.get(f"{name}_high"), unit=False)


def _p(p: float) -> str:
    """A p-value without its name: "0.028" or "< 0.001"."""
    return p_value(p).removeprefix("p ").removeprefix("= ")
