"""Every model on every panel of a folder: the tables of ``python -m benchmarks.accuracy --all FOLDER``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.panels import MOST_SERIES, SOURCES, panels_in
from benchmarks.rival_forecasts import RIVALS, forecasts_of_rivals, summary
from tidecast.features import PanelSchema
from tidecast.flows.reporting.comparison_text import fit_columns, skill_columns
from tidecast.forecasting import (
    Average,
    Drift,
    GRUForecaster,
    LSTMForecaster,
    RNNForecaster,
    RollingOrigin,
    VolatilityRegression,
    comparison,
    timed_backtest,
)
from tidecast.forecasting.tables.names import AVERAGE, VOLATILITY_REGRESSION

CELLS = {"RNN": RNNForecaster, "LSTM": LSTMForecaster, "GRU": GRUForecaster}
HORIZON, SEEDS = 5, (0, 1, 2)
REFITS, MOST_ORIGINS = 2, 504
FAST_RIVALS = ("garch", "gjr", "har", "lightgbm")
PERIODS = ("development", "test")


@dataclass(frozen=True)
class Choice:
    """The choices of a comparison.

    Attributes
    ----------
    python : str or None
        Interpreter of the rivals; None: without them.
    rivals : tuple of str
        Names of `RIVALS`.
    panels : tuple of str
        Names of panels; empty: all.
    periods : tuple of str
        Of `PERIODS`.
    seeds : int
        Of each network.
    most_origins : int
        In a period.
    shares : int
        Of a file with hundreds of them.
    json : Path or None
        File that every line is added to.
    """

    python: str | None = None
    rivals: tuple[str, ...] = FAST_RIVALS
    panels: tuple[str, ...] = ()
    periods: tuple[str, ...] = PERIODS
    seeds: int = len(SEEDS)
    most_origins: int = MOST_ORIGINS
    shares: int = MOST_SERIES
    json: Path | None = None


def compare_folder(folder: Path, choice: Choice) -> None:
    """Print the tables of all panels in a folder.

    Parameters
    ----------
    folder : Path
    choice : Choice
    """
    for name, panel, schema in panels_in(folder, choice.shares):
        if not choice.panels or name in choice.panels:
            compare_all(name, panel, schema, choice)


def compare_all(name: str, panel: pl.DataFrame, schema: PanelSchema, choice: Choice) -> None:
    """Print every model on a panel: on the newest origins, and on those before them, on which models may be chosen.

    Parameters
    ----------
    name : str
    panel : polars.DataFrame
    schema : PanelSchema
    choice : Choice
    """
    sessions = panel["time"].unique().sort()
    n_origins = min(choice.most_origins, (len(sessions) - HORIZON) // 4)
    cv = RollingOrigin(n_splits=REFITS, horizon=HORIZON, stride=n_origins // REFITS)
    ends = dict(zip(PERIODS, (sessions[-1 - n_origins], sessions[-1]), strict=True))
    for period in choice.periods:
        rows = panel.filter(pl.col("time") <= ends[period])
        forecasts, seconds = timed_backtest(all_models(schema, range(choice.seeds)), rows, cv)
        notes = []
        if choice.python:
            found = forecasts_of_rivals(list(choice.rivals), choice.python, rows, schema, cv, HORIZON)
            forecasts = pl.concat([forecasts, found.table.select(forecasts.columns)])
            seconds, notes = seconds | found.seconds, summary(found)
        compared = comparison(forecasts, rows, seconds=seconds)
        first, last = forecasts["origin"].min(), forecasts["origin"].max()
        of = f"{rows['series_id'].n_unique()} series, {forecasts['origin'].n_unique()} origins {first} to {last}"
        print(f"\n{name}, {period}: {of}, {REFITS} refits, {date.today()}\n")
        for columns in (skill_columns(compared), fit_columns(compared)):
            print(markdown(columns), flush=True)
        print("\n".join(f"- {note}" for note in notes), flush=True)
        if choice.json is not None:
            _keep(choice.json, compared, {"panel": name, "period": period, "origins": of, "notes": notes})


def markdown(columns: dict[str, list[str]]) -> str:
    """Return columns as a Markdown table.

    Parameters
    ----------
    columns : dict of str to list of str
        Cells by head.
    """
    lines = [" | ".join(columns), "|".join("---" for _ in columns)]
    lines += [" | ".join(cells) for cells in zip(*columns.values(), strict=True)]
    return "\n".join([f"| {lines[0]} |", f"|{lines[1]}|", *(f"| {line} |" for line in lines[2:]), ""])


def all_models(schema: PanelSchema, seeds: range | tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """Every model by name: each network with each seed, the benchmarks, and the average of all networks of seed 0.

    Parameters
    ----------
    schema : PanelSchema
    seeds : range or tuple of int
        The first is 0.
    """
    networks = {
        f"{name}/{seed}": cell(horizon=HORIZON, schema=schema, random_state=seed)
        for name, cell in CELLS.items()
        for seed in seeds
    }
    regression = VolatilityRegression(horizon=HORIZON, schema=schema)
    single = [network for name, network in networks.items() if name.endswith("/0")]
    return networks | {
        VOLATILITY_REGRESSION: regression,
        AVERAGE: Average([*single, regression]),
        "drift": Drift(horizon=HORIZON, schema=schema),
    }


def _keep(path: Path, compared: pl.DataFrame, about: dict[str, Any]) -> None:
    """Add the numbers to a file of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps({**about, "date": str(date.today()), "models": compared.to_dicts()}) + "\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``--all``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    apart = parser.add_argument_group("with --all")
    apart.add_argument("--rivals", metavar="PYTHON", help="also models of other libraries, in this interpreter")
    apart.add_argument("--rival", nargs="+", choices=list(RIVALS), default=list(FAST_RIVALS), help="which of them")
    apart.add_argument("--panels", nargs="+", choices=list(SOURCES), default=[], metavar="NAME", help="these only")
    apart.add_argument("--periods", nargs="+", choices=PERIODS, default=list(PERIODS))
    apart.add_argument("--seeds", type=int, default=len(SEEDS), help="seeds of each network")
    apart.add_argument("--origins", type=int, default=MOST_ORIGINS, help="in a period, at most")
    apart.add_argument("--shares", type=int, default=MOST_SERIES, help="of a file with hundreds of them")
    apart.add_argument("--json", type=Path, metavar="FILE", help="add the numbers to this file")


def choice_of(given: argparse.Namespace) -> Choice:
    """Return what the options choose.

    Parameters
    ----------
    given : argparse.Namespace
        From a parser with `add_arguments`.
    """
    if given.seeds < 1:
        sys.exit(f"--seeds must be at least 1, got {given.seeds}.")
    return Choice(
        given.rivals, tuple(given.rival), tuple(given.panels), tuple(given.periods), given.seeds, given.origins,
        given.shares, given.json,
    )  # fmt: skip
