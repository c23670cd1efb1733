"""Print decisions on the champion, and results of backtests."""

from typing import Any

import polars as pl
from rich.console import Console

from tidecast.flows.cli.terminal import facts, table
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.training.backtest_panel import Backtested
from tidecast.forecasting.evaluation.decision import p_value
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in


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
        "distribution, %",
        "evidence",
        "gates",
        "by",
    ]
    out.print(table(heads, [_line(row) for row in rows]))
    out.print()
    facts(out, [("Last", rows[-1]["reason"]), ("", "The table decisions has all numbers, recipes and the policy.")])


def backtest_table(found: Backtested) -> Any:
    """Return a table, the best model first: skill against the random walk and its standard error, in per cent.

    Parameters
    ----------
    found : Backtested
    """
    loss = loss_in(found.summary.columns)
    pooled = found.summary.filter(pl.col("group") == "pooled").sort(loss, nulls_last=True)
    rows = [
        [
            readable(row["model"]), f"{row[loss]:.4f}", _percent(row["skill"], row["skill_se"]),
            "" if row["p"] is None or row["model"] == RANDOM_WALK else p_value(row["p"]),
            _percent(row["ae_skill"], row["ae_skill_se"]), f"{100 * row['coverage']:.1f}",
        ]
        for row in pooled.iter_rows(named=True)
    ]  # fmt: skip
    return table(["model", loss, "distribution, %", "evidence", "median, %", "coverage, %"], rows)


def _line(row: dict[str, Any]) -> list[str]:
    version = row["champion_version"]
    replaced = f"{readable(row['champion'])}, {version}" if version else ""
    judged = row["n_origins"] is not None
    skill = _percent(row["distribution_skill"], row["distribution_se"]) if judged else ""
    return [
        str(row["as_of"]), row["outcome"], readable(row["winner"]), row["version"], replaced,
        readable(row["candidate"] or ""), skill,
        p_value(row["distribution_p"]) if judged and row["distribution_p"] is not None else "",
        str(row["gates_before"]), row["by"],
    ]  # fmt: skip


def _percent(share: float | None, se: float | None) -> str:
    if share is None:
        return "not known"
    number = f"{100 * share:+.2f}".replace("-", "−")
    return number if se is None else f"{number} ± {100 * se:.2f}"
