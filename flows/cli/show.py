"""Print the summary of a run, forecasts, and rows in quarantine."""

import shlex
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from tidecast.features.error_text import counted, meant
from tidecast.flows.cli.answer import Answer
from tidecast.flows.cli.answers import day_verdict, quarantine_fields, session_fields, verdict_text
from tidecast.flows.cli.terminal import GAP, facts, table
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.ingest.quarantine import near_choice, waiting
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.reporting.report import track_record
from tidecast.flows.steps.day import Day
from tidecast.flows.training.decisions import decision_text, made_champion
from tidecast.flows.warehouse.schema import quantile_columns
from tidecast.flows.watch.known import known_at
from tidecast.flows.watch.live_record import live_record
from tidecast.flows.watch.record_text import record_lines
from tidecast.flows.workspace.workspace import Workspace

MOST_WAITING = 40
"""Rows in quarantine shown at once."""

FEW = 8
"""Series shown at the end of a run."""


def summary(out: Console, day: Day, asked: date | None = None) -> None:
    """Print counts of prices, the champion and why, and where forecasts, report and pages are.

    Parameters
    ----------
    out : Console
    day : Day
    asked : date, optional
        The day that was asked for; its session is the newest one up to it.
    """
    row, workspace = day.row, day.workspace
    issued = workspace.warehouse.forecasts(day.as_of)
    steps = issued["step"].n_unique()
    late = "" if issued["live"].any() else " (issued late: not part of the live record)"
    newest = "" if asked in (None, day.as_of) else f" (the newest up to {asked} that has prices)"
    pairs = [("Session", f"{day.as_of}{newest}{late}"), ("Prices", prices_text(day.ingested))]
    if day.ingested.corrected:
        pairs.append(("", "Corrections are stored as new revisions. Issued forecasts stay; --reissue replaces them."))
    pairs.append(("Champion", f"{champion_text(row)}\n{day_verdict(day)}".strip()))
    pairs.append(
        (
            "Forecast",
            f"{_series_text(row)}, {counted(steps, 'session')} ahead, in {workspace.warehouse.uri}/forecasts",
        )
    )
    for reason, names in (day.forecasts.left_out if day.forecasts else {}).items():
        pairs.append(("", f"left out, {reason}: {shortened(names)}"))
    pairs.append(("Report", str(day.report or workspace.state_folder.reports / f"{day.as_of}.html")))
    pairs.append(("Models", f"tidecast ui --home {shlex.quote(str(workspace.state_folder.path))}"))
    out.print()
    if day.shortfall:
        out.print(day.shortfall)
    if day.was_done_before:
        out.print(f"Nothing to do: {day.as_of} is done.")
    else:
        out.print(forecast_table(issued, out.width, FEW))
    out.print()
    facts(out, pairs)


def _series_text(row: dict[str, Any]) -> str:
    quoted, forecast = row["series_live"] or 0, row["series_forecast"]
    return f"{forecast:,} series" if forecast >= quoted else f"{forecast:,} of {quoted:,} quoted series"


def show(answer: Answer, home: StateFolder, settings: Settings, as_of: date | None, series: tuple[str, ...]) -> None:
    """Print the forecasts of one session, the model that made them, and its record so far.

    Parameters
    ----------
    answer : Answer
        Where to print.
    home : StateFolder
    settings : Settings
    as_of : date or None
        None: the newest session with a forecast.
    series : tuple of str
        Empty: all.

    Raises
    ------
    TidecastError
        There is no such forecast, or no such series.
    """
    workspace = Workspace(home, settings)
    runs = workspace.warehouse.runs()
    issued = runs.filter(pl.col("as_of") == as_of) if as_of else runs.tail(1)
    if issued.is_empty():
        wanted = f" of {as_of}" if as_of else ""
        near = "" if runs.is_empty() else f" The newest is of {runs['as_of'][-1]}."
        raise TidecastError(f"There must be a forecast{wanted} to show, found none.{near} Make one with: tidecast run")
    row = issued.to_dicts()[0]
    forecasts = workspace.warehouse.forecasts(row["as_of"])
    unknown = sorted(set(series) - set(forecasts["series_id"]))
    if unknown:
        known = forecasts["series_id"].unique().sort()
        hint = meant(unknown[0], known)
        raise TidecastError(
            f"--series must name forecast series, found {shortened(unknown)}. There are: {shortened(known)}.{hint}"
        )
    if series:
        forecasts = forecasts.filter(pl.col("series_id").is_in(series))
    verdict = verdict_of(workspace, row)
    if answer.as_json:
        answer.give({"home": home.path, **session_fields(workspace, row, forecasts, verdict)})
        return
    out = answer.out
    out.print(forecast_table(forecasts, out.width))
    out.print()
    facts(out, [
        ("Session", str(row["as_of"])),
        ("Champion", f"{champion_text(row)}\n{verdict}".strip()),
        ("Decided", decision_text(made_champion(workspace.warehouse.decisions(), row["champion_version"]))),
        ("Record", _record(workspace)),
        ("Report", str(home.reports / f"{row['as_of']}.html")),
    ])  # fmt: skip


def _record(workspace: Workspace) -> str:
    """The live record up to the newest session; without its windows where the panel has no calendar yet."""
    as_of = workspace.warehouse.newest_session()
    if as_of is None or workspace.settings.calendar is None:
        return record_text(workspace.warehouse.scores())
    return record_lines(live_record(known_at(workspace.warehouse, workspace.settings, as_of)))


def forecast_table(forecasts: pl.DataFrame, width: int, few: int | None = None) -> Any:
    """Return a table of medians per session and the widest interval at the last step; one line per series.

    Where `width` characters do not fit all steps, the first ones and the last are shown.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Of one session.
    width : int
        Characters that a line may have.
    few : int, optional
        Series to show; None: all.
    """
    sessions = forecasts["time"].unique().sort()
    levels = quantile_columns(forecasts)
    medians = forecasts.pivot(on="step", index="series_id", values="forecast")
    steps = medians.columns[1:]
    heads = [f"{day:%d %b}" for day in sessions] if len(sessions) == len(steps) else [f"step {n}" for n in steps]
    shown = medians.head(few or len(medians))
    series = ["series", *(_clipped(name, max(12, width // 4)) for name in shown["series_id"])]
    columns = [[head, *map(_number, shown[step])] for head, step in zip(heads, steps, strict=True)]
    interval = []
    if levels:
        last = forecasts.filter(pl.col("step") == pl.col("step").max())
        ends = shown.join(last, on="series_id", how="left", maintain_order="left")[levels[0], levels[-1]]
        share = f"{100 * (float(levels[-1][1:]) - float(levels[0][1:])):.0f} % of {sessions[-1]:%d %b}"
        interval = [[share, *(f"{_number(low)} … {_number(high)}" for low, high in ends.iter_rows())]]
    columns = _fitting(columns, width - _width([series, *interval]))
    more = f" (first {len(shown)} of {len(medians)} series)" if len(shown) < len(medians) else ""
    names, *rows = zip(series, *columns, *interval, strict=True)
    return table(list(names), [list(row) for row in rows], title=f"Median forecasts{more}", wrap=False)


def _fitting(columns: list[list[str]], room: int) -> list[list[str]]:
    """All columns; or the first ones, as many as fit, and the last."""
    if len(columns) < 3 or _width(columns) <= room:
        return columns
    *first, last = columns
    gap = ["…"] * len(last)
    first.pop()
    while len(first) > 1 and _width([*first, gap, last]) > room:
        first.pop()
    return [*first, gap, last]


def show_quarantine(answer: Answer, home: StateFolder, settings: Settings, **rows: Any) -> None:
    """Print the rows in quarantine that wait for a decision, the newest first, and the counts per rule.

    Parameters
    ----------
    answer : Answer
        Where to print.
    home : StateFolder
    settings : Settings
    **rows : object
        Rules, series and days that choose the rows, as `waiting` takes them.
    """
    warehouse = Workspace(home, settings).warehouse
    if answer.as_json:
        answer.give({"home": home.path, **quarantine_fields(warehouse, **rows)})
        return
    out, found = answer.out, waiting(warehouse, **rows)
    if found.is_empty():
        like = "like that " if any(rows.values()) else ""
        out.print(f"No row {like}in quarantine waits for a decision.{near_choice(warehouse, **rows)}")
    else:
        shown = found.head(MOST_WAITING).select("series_id", "time", "rule", "close", "original", "as_of")
        lines = [[_clipped("" if value is None else str(value), 60) for value in row] for row in shown.rows()]
        out.print(table(["series", "time", "rule", "close", "as delivered", "found on"], lines))
        more = f", of which the newest {MOST_WAITING} are shown" if found.height > MOST_WAITING else ""
        out.print(f"{counted(found.height, 'row waits', 'rows wait')} for a decision{more}.")
    counts = found["rule"].value_counts(sort=True).iter_rows()
    facts(out, [(rule, f"{count:,}") for rule, count in counts])
    if (decided := warehouse.repairs().height) > 0:
        facts(out, [("decided", f"{decided:,} (who, when and why: {warehouse.uri}/repairs)")])


def _width(columns: list[list[str]]) -> int:
    return sum(max(map(cell_len, column)) + GAP for column in columns)


def _clipped(name: str, most: int) -> str:
    """A name on one line, no longer than `most`."""
    line = " ".join(name.split())
    return line if cell_len(line) <= most else f"{set_cell_size(line, most - 1).rstrip()}…"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def prices_text(found: Ingested) -> str:
    """Return the counts of this call as text; the table `runs` has those of all runs of the session.

    Parameters
    ----------
    found : Ingested
    """
    bad = sum(found.quarantined.values())
    return (
        f"{counted(found.rows_in, 'row')} read: {found.stored:,} new, {found.corrected:,} corrected, "
        f"{found.unchanged:,} known, {bad:,} in quarantine"
    )


def champion_text(row: dict[str, Any]) -> str:
    """Return which model made a session's forecasts, as text.

    Parameters
    ----------
    row : dict
        Of `runs`.
    """
    version = f", version {row['champion_version']}" if row["champion_version"] else ", not registered"
    return f"{readable(str(row['champion']))}{version}, trained through {row['trained_through']}"


def verdict_of(workspace: Workspace, row: dict[str, Any]) -> str:
    """Return why that model is champion, as its training run says; empty for another one.

    Parameters
    ----------
    workspace : Workspace
    row : dict
        Of `runs`.
    """
    champion = workspace.registry().champion(row["as_of"])
    if champion is None or champion.version != row["champion_version"]:
        return ""
    return verdict_text(champion.decision)


def record_text(scores: pl.DataFrame) -> str:
    """Return the record of live forecasts against the random walk's, as text.

    Parameters
    ----------
    scores : polars.DataFrame
        The table `scores`.
    """
    records = track_record(scores)
    if not records:
        return "no live forecast has come true yet"
    return "\n".join(
        f"{found['model']}: {found['forecasts']:,} came true, {found['against']} against the random walk, "
        f"{found['coverage']} % inside the interval"
        for found in records
    )


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, by the file's suffix.

    Parameters
    ----------
    table : polars.DataFrame
    path : Path
        Ends in ".csv" or ".parquet".

    Raises
    ------
    TidecastError
        The file cannot be written.
    """
    try:
        if path.suffix.lower() == ".csv":
            table.write_csv(path)
        else:
            table.write_parquet(path)
    except OSError as error:
        raise TidecastError(f"The output file must be writable, but writing {path} failed: {error}") from error


def shortened(names: Any, most: int = 8) -> str:
    """Return the first names of a long list, and how many more there are.

    Parameters
    ----------
    names : iterable
    most : int, default=8
        Names to show.
    """
    listed = [str(name) for name in names]
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest
