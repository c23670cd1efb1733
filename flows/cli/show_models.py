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
COVERAGES = {
    "coverage": "coverage, %",
    "coverage_calm": "calm",
    "coverage_usual": "usual",
    "coverage_turbulent": "turbulent",
    "coverage_after_break": "after a break",
}
"""Columns of coverage, by their names in a comparison."""


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


def backtest_tables(found: Backtested) -> list[Any]:
    """Return two tables, the best model first: skill with its 95 % interval, and how the distribution fits.

    Parameters
    ----------
    found : Backtested
    """
    loss = loss_in(found.compared.columns)
    rows = list(found.compared.iter_rows(named=True))
    skills = [
        [
            readable(row["model"]), f"{row[loss]:.4f}", _skill(row, "skill"),
            "" if row["p"] is None or row["model"] == RANDOM_WALK else _p(row["p"]),
            *([_skill(row, "against_skill")] if _has_second(rows) else []), _skill(row, "mae_skill"),
        ]
        for row in rows
    ]  # fmt: skip
    against = ["against the regression, % (95 %)"] if _has_second(rows) else []
    fits = [
        [readable(row["model"]), _number(row["qlike"], 3), _number(row["interval_score"], 3)]
        + [_number(row[name], 1, 100) for name in COVERAGES]
        for row in rows
    ]
    return [
        table(["model", loss, SKILL, "p", *against, MEDIAN], skills, whole=[SKILL, MEDIAN, *against]),
        table(["model", "QLIKE", "interval score", *COVERAGES.values()], fits),
    ]


def _has_second(rows: list[dict[str, Any]]) -> bool:
    return any(row["against_skill"] is not None for row in rows)


def _number(value: float | None, digits: int, times: float = 1.0) -> str:
    return "–" if value is None else f"{times * value:.{digits}f}".replace("-", "−")


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
