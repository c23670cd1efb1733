"""Commands for a state folder: MLflow's pages, upkeep of tables, a check of everything."""

import os
import sys
from datetime import date
from pathlib import Path

import click

from tidecast.flows.cli.failing import FAILED, one_line_errors
from tidecast.flows.cli.options import Day, enter_state_folder, everywhere, existing_panel
from tidecast.flows.cli.terminal import console, facts
from tidecast.flows.config.state_folder import find_state_folder, hold


@click.command()
@click.option("--open", "browse", is_flag=True, help="Open the pages in the browser.")
@everywhere
def ui(home: str | None, debug: bool, browse: bool) -> None:
    """Serve MLflow's pages for this state folder, until stopped with Ctrl-C.

    \b
    Example:
      tidecast ui --open
    """
    with one_line_errors(debug):
        folder, _ = existing_panel(home, debug)
        out = console()
        from tidecast.flows.cli.mlflow_ui import serve_ui  # MLflow takes seconds

        serve_ui(out, folder, browse)


@click.command()
@everywhere
def maintain(home: str | None, debug: bool) -> None:
    """Join small files of the tables, and remove files that were unused for a week and that no forecast was made from.

    \b
    Example:
      tidecast maintain
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug, out)
        from tidecast.flows.maintenance import maintain as maintain_tables  # Prefect and Delta Lake take a second
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "the maintenance of the warehouse"):
            done = maintain_tables(Workspace(folder, settings).warehouse)
        facts(
            out,
            [(name, f"{joined} files joined, {removed} no longer needed") for name, (joined, removed) in done.items()],
        )


@click.command()
@click.option("--as-of", type=Day(), metavar="DATE", help="As known on this session.  [default: the newest]")
@everywhere
def features(home: str | None, debug: bool, as_of: date | None) -> None:
    """Bring the table `features` up to date: a copy of the networks' default inputs, for people.

    \b
    Example:
      tidecast features
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug, out)
        from tidecast.flows.feature_table import build  # Prefect and Delta Lake take a second
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "building features"):
            built = build(Workspace(folder, settings).warehouse, as_of, settings.positive)
        facts(out, [("Features", f"{built.written:,} rows new or changed, as known on {built.as_of}")])


@click.command()
@click.option("--deep", is_flag=True, help="Read every file of the tables, and compare row counts with the table runs.")
@everywhere
def doctor(home: str | None, debug: bool, deep: bool) -> None:
    """Print all settings and where they came from, versions, tables and the lock, and list problems.

    \b
    Example:
      tidecast doctor
      tidecast doctor --deep
    """
    with one_line_errors(debug):
        folder = find_state_folder(home, os.environ, Path.cwd())
        out = console()
        enter_state_folder(folder, debug)
        from tidecast.flows.cli.doctor import examine  # it imports most libraries

        if examine(out, folder, deep):
            sys.exit(FAILED)
