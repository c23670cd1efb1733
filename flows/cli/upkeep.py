"""Commands for a state folder: MLflow's pages, upkeep of tables, a check of everything."""

import os
import sys
from datetime import date
from pathlib import Path

import click
from rich.console import Console

from tidecast.features.error_text import counted
from tidecast.flows.cli.answer import json_option
from tidecast.flows.cli.failing import FAILED, one_line_errors
from tidecast.flows.cli.help import Command
from tidecast.flows.cli.options import Day, enter_state_folder, everywhere, existing_panel
from tidecast.flows.cli.terminal import console, facts
from tidecast.flows.config.state_folder import find_state_folder, hold


@click.command(cls=Command, short_help="Serve MLflow's pages, until stopped.")
@click.option("--open", "browse", is_flag=True, help="Open the pages in the browser.")
@everywhere
def ui(home: str | None, debug: bool, browse: bool) -> None:
    """Serve MLflow's pages for this state folder, until stopped with Ctrl-C.

    Reads MLflow's files in the state folder, or opens the tracking server that mlflow.yml names.

    \b
    Example:
      tidecast ui --open
    """
    with one_line_errors(debug, serves=True):
        folder, _ = existing_panel(home, debug)
        out = console()
        from tidecast.flows.cli.mlflow_ui import serve_ui  # MLflow takes seconds

        serve_ui(out, folder, browse)


@click.command(cls=Command, short_help="Tidy up the files of the tables.")
@json_option
@everywhere
def maintain(home: str | None, debug: bool, as_json: bool) -> None:
    """Join small files of the tables, and remove files that were unused for a week and that no forecast was made from.

    Rewrites files of the tables in the state folder; no row changes.

    \b
    Example:
      tidecast maintain
    """
    with one_line_errors(debug, as_json) as answer:
        out = answer.out
        folder, settings = existing_panel(home, debug, out)
        from tidecast.flows.maintenance import maintain as maintain_tables  # Prefect and Delta Lake take a second
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "the maintenance of the warehouse"):
            done = maintain_tables(Workspace(folder, settings).warehouse)
        counts = {name: {"files_joined": joined, "files_removed": removed} for name, (joined, removed) in done.items()}
        answer.give({"home": folder.path, "tables": counts})
        facts(
            out,
            [
                (name, f"{counted(joined, 'file')} joined, {removed} no longer needed")
                for name, (joined, removed) in done.items()
            ],
        )


@click.command(cls=Command, short_help="Write the table of features, for people.")
@click.option("--as-of", type=Day(), metavar="DATE", help="As known on this session.  [default: the newest]")
@json_option
@everywhere
def features(home: str | None, debug: bool, as_json: bool, as_of: date | None) -> None:
    """Bring the table `features` up to date: a copy of the networks' default inputs, for people.

    Reads the stored prices. Writes the table features.

    \b
    Example:
      tidecast features
    """
    with one_line_errors(debug, as_json) as answer:
        out = answer.out
        folder, settings = existing_panel(home, debug, out)
        from tidecast.flows.publish.feature_rows import build  # Delta Lake takes a second
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "building features"):
            built = build(Workspace(folder, settings).warehouse, settings, as_of)
        answer.give({"home": folder.path, "as_of": built.as_of, "rows_written": built.written})
        facts(out, [("Features", f"{counted(built.written, 'row')} new or changed, as known on {built.as_of}")])


@click.command(cls=Command, short_help="Print settings, versions and tables; list problems.")
@click.option("--deep", is_flag=True, help="Read every file of the tables, and compare row counts with the table runs.")
@json_option
@everywhere
def doctor(home: str | None, debug: bool, as_json: bool, deep: bool) -> None:
    """Print all settings and where they came from, versions, tables and the lock, and list problems.

    Reads the settings, the source and the state folder. Writes nothing, except addresses of models after the folder
    was moved.

    \b
    Example:
      tidecast doctor
      tidecast doctor --deep
    """
    with one_line_errors(debug, as_json) as answer:
        folder = find_state_folder(home, os.environ, Path.cwd())
        enter_state_folder(folder, debug)
        from tidecast.flows.cli.doctor import examine  # it imports most libraries

        found = examine(Console(quiet=True) if as_json else answer.out, folder, deep)
        answer.give(found.fields)
        if found.problems:
            sys.exit(FAILED)
