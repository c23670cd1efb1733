"""Report the state of a folder when something is wrong: settings and their origin, versions, tables, lock, problems."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from tidecast.flows.cli.failing import one_line
from tidecast.flows.cli.terminal import facts, table
from tidecast.flows.config.library_versions import version_problems
from tidecast.flows.config.mlflow_yml import load_mlflow_config
from tidecast.flows.config.panel_file import CHANGED_BY, INPUTS
from tidecast.flows.config.rule_actions import actions_in_force
from tidecast.flows.config.settings import CALENDARS, Settings
from tidecast.flows.config.state_folder import StateFolder, hold
from tidecast.flows.errors import Busy, WarehouseError
from tidecast.flows.ingest.ahead_rows import read_events, read_future
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.scheduling.market_times import daily_times
from tidecast.flows.sources import open_source
from tidecast.flows.training.decisions import decision_text, last_of, made_champion
from tidecast.flows.training.engine import engine_of
from tidecast.flows.warehouse.damage import damages
from tidecast.flows.warehouse.schema import TABLES
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.flows.workspace.panel_identity import identify
from tidecast.flows.workspace.workspace import Workspace

LIBRARIES = (
    "tidecast", "torch", "scikit-learn", "polars", "pandas", "deltalake", "mlflow", "prefect", "fastapi", "sqlalchemy",
)  # fmt: skip


FIELDS = ("home", "python", "versions", "settings", "mlflow", "schedule", "tables", "champion", "lock", "problems")
"""Fields of ``doctor --json``; null where they cannot be found out, such as the tables of a folder not made yet."""


@dataclass
class Examined:
    """The state of a folder.

    Attributes
    ----------
    problems : list of str
        One sentence per problem.
    fields : dict
        What was found, as ``doctor --json`` prints it.
    """

    problems: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)


def examine(out: Console, home: StateFolder, deep: bool = False) -> Examined:
    """Print the state of the folder, and return it.

    Parameters
    ----------
    out : Console
    home : StateFolder
    deep : bool
        Whether to read every file of the tables.
    """
    found = Examined(fields=dict.fromkeys(FIELDS))
    problems = found.problems
    _versions(out, home, found)
    settings = None
    with _noted(problems):
        settings, origins = load_settings(home, {}, os.environ, Path.cwd())
        _print_settings(out, "setting", {name: (_value(settings, name), origins[name]) for name in origins}, found)
        _remembered(out, home, settings, origins)
        _schedule(out, settings, found)
    with _noted(problems):
        config, origins_yml = load_mlflow_config(Path.cwd(), os.environ)
        values = {name: _dotted(config, name) for name in origins_yml}
        texts = {name: ("" if value is None else str(value), origins_yml[name]) for name, value in values.items()}
        _print_settings(out, "mlflow.yml", texts, found)
    if settings is not None:
        with _noted(problems), engine_of(settings, home.warehouse_uri):
            pass  # that it answers, and that its workers are alike
        with _noted(problems):
            open_source(settings).fetch()
        with _noted(problems):
            if settings.future is not None:
                stored = None if home.created else Workspace(home, settings).warehouse.calendars()
                problems += filter(None, [read_future(settings, stored).left_out])
        with _noted(problems):
            if settings.events is not None:
                problems += filter(None, [read_events(settings).left_out])
    if not home.created:
        _contents(out, home, settings, found, deep)
    out.print()
    for problem in problems or ["No problem found."]:
        out.print(problem)
    found.fields["problems"] = problems
    return found


def _versions(out: Console, home: StateFolder, found: Examined) -> None:
    """Print folder and versions; note libraries that do not work."""
    python = sys.version.split()[0]
    versions = {name: metadata.version(name) for name in LIBRARIES if _is_installed(name)}
    facts(out, [("Home", f"{home.path} ({'not made yet' if home.created else 'found'})"), ("Python", python),
                ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()))])  # fmt: skip
    found.problems += version_problems()
    found.fields |= {"home": home.path, "python": python, "versions": versions}


def _print_settings(out: Console, what: str, values: dict[str, tuple[str, str]], found: Examined) -> None:
    """Print values and where each comes from, by name."""
    out.print()
    out.print(table([what, "value", "from"], [[name, *value] for name, value in values.items()]))
    found.fields["settings" if what == "setting" else "mlflow"] = {
        name: {"value": value, "from": origin} for name, (value, origin) in values.items()
    }


def _contents(out: Console, home: StateFolder, settings: Settings | None, found: Examined, deep: bool) -> None:
    """Print tables, champion and lock of a folder that exists; note problems."""
    problems = found.problems
    with _noted(problems):
        out.print()
        in_force = settings or Settings(warehouse=os.environ.get("TIDECAST_WAREHOUSE"))
        _tables(out, home, in_force, found, deep)
    if settings is not None:
        with _noted(problems):
            _champion(out, Workspace(home, settings), found)
    with _noted(problems):
        found.fields["lock"] = _lock(home)
        out.print()
        facts(out, [("Lock", found.fields["lock"])])


def _remembered(out: Console, home: StateFolder, settings: Settings, origins: dict[str, str]) -> None:
    """Name the settings that panel.json remembers, and how to change each."""
    names = [name for name, origin in origins.items() if origin == "remembered"]
    if not names:
        return
    ways = "; ".join(f"{name}: {CHANGED_BY[name]}" for name in names)
    when = "A run with another value replaces it, because nothing is published yet."
    if Workspace(home, settings).warehouse.has_published():
        when = (
            "They say what the panel is, so another value needs another folder (--home). If the source was moved or a "
            "column renamed, change that in the file."
        )
        if any(name in INPUTS for name in names):
            when += " What is known ahead may change: the next training uses it."
    out.print()
    facts(out, [("Remembered", f"in {home.panel_file}, since the first run. {when}\n{ways}")])


def _schedule(out: Console, settings: Settings, found: Examined) -> None:
    """Print when `tidecast schedule` would run the daily forecast."""
    if settings.cron is None and settings.calendar is None and settings.source not in CALENDARS:
        when = "after each close; the first run finds the calendar"
    else:
        when = daily_times(settings, datetime.now(UTC).date()).text
    found.fields["schedule"] = when
    facts(out, [("Schedule", f"tidecast schedule runs {when}")])


def _tables(out: Console, home: StateFolder, settings: Settings, found: Examined, deep: bool) -> None:
    """Rows and versions of each table, damage to them, and runs that did not end well."""
    warehouse, problems = Workspace(home, settings).warehouse, found.problems
    rows = [_height_and_version(warehouse, name) for name in TABLES]
    out.print(table(["table", "rows", "version"], rows))
    found.fields["tables"] = {name: {"rows": height, "version": version} for name, height, version in rows}
    damaged = damages(warehouse, deep)
    problems += damaged
    with _noted([] if damaged else problems):  # a damaged table is named once
        identify(home, warehouse, settings)
    for row in warehouse.runs().filter(pl.col("status") != "done").iter_rows(named=True):
        what = "was stopped before it ended" if row["status"] == "published" else "had a step that failed"
        problems.append(
            f"The run of {row['as_of']} {what}. Run it again, which completes it and keeps what is published: "
            f"tidecast run --as-of {row['as_of']}"
        )


def _height_and_version(warehouse: Warehouse, name: str) -> list[Any]:
    try:
        there = name in warehouse.versions([name])
        return [name, warehouse.height(name), warehouse.version(name) if there else "not there yet"]
    except WarehouseError:
        return [name, "unreadable", "unreadable"]


def _champion(out: Console, workspace: Workspace, found: Examined) -> None:
    """Print the champion and its decision; note where the two differ. A folder that was moved is repaired first."""
    from tidecast.flows.steps.promote import present_champion  # torch and MLflow take seconds to import

    decisions = workspace.warehouse.decisions()
    champion = present_champion(workspace.registry(lambda text: out.print(text)), decisions)
    if champion is None:
        found.fields["champion"] = None
        facts(out, [("Champion", "none yet: the first training chooses one")])
        return
    decided = decision_text(made_champion(decisions, champion.version))
    name = readable(champion.name)
    trained = f"{name}, version {champion.version}, trained through {champion.trained_through}"
    facts(out, [("Champion", f"{trained}\n{decided}")])
    found.fields["champion"] = {
        "name": name, "version": champion.version, "trained_through": champion.trained_through, "decided": decided,
    }  # fmt: skip
    last = last_of(decisions)
    if last is not None and last["version"] != champion.version:
        if last["champion_version"] == champion.version:
            why = "the run that decided so was stopped, and the next one carries it out"
        else:
            undo = f'tidecast promote {last["version"]} --why "it was decided"'
            why = f"somebody moved the alias in MLflow. If that was wrong: {undo}"
        found.problems.append(
            f"Version {champion.version} is champion, but version {last['version']} was decided on: {why}."
        )


def _lock(home: StateFolder) -> str:
    try:
        with hold(home, "tidecast doctor"):
            return "free"
    except Busy as error:
        return str(error)


def _value(settings: Settings, name: str) -> str:
    if name.startswith("rules."):
        own = tuple(settings.rules) if settings.rules_schema else ()
        return actions_in_force(settings.rules, own)[name.removeprefix("rules.")]
    value = _dotted(settings, name)
    return "" if value is None else json.dumps(value) if isinstance(value, tuple) else str(value)


def _dotted(tree: object, name: str) -> object:
    for part in name.split("."):
        tree = getattr(tree, part)
    return tree


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # one fault must not hide the others
        if (line := one_line(error)) not in problems:
            problems.append(line)
