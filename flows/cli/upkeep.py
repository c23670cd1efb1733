"""Looking after a state folder: its pages, tables and health."""

import os
import sys
from datetime import date
from pathlib import Path

import click

from tidecast.flows.cli.failing import FAILED, one_line_errors
from tidecast.flows.cli.options import Day, enter_state_folder, everywhere, existing_panel
from tidecast.flows.cli.terminal import console, facts
from tidecast.flows.config.state_folder import find_state_folder


@click.command()
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
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
        from tidecast.flows.cli.mlflow_ui import serve_ui

        serve_ui(out, folder, browse)


@click.command()
@everywhere
def maintain(home: str | None, debug: bool) -> None:
    """Join the small files of the tables, and remove those out of use for a week that no published forecast read.

    \b
    Example:
      tidecast maintain
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug, out)
        from tidecast.flows.config.state_folder import hold
        from tidecast.flows.maintenance import maintain as maintain_tables
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "the maintenance of the warehouse"):
            done = maintain_tables(Workspace(folder, settings).warehouse)
        facts(
            out,
            [
                (name, f"{joined} files joined, {removed} not needed any more")
                for name, (joined, removed) in done.items()
            ],
        )


@click.command()
@click.option("--as-of", type=Day(), metavar="DATE", help="As known on this session.  [default: the newest]")
@everywhere
def features(home: str | None, debug: bool, as_of: date | None) -> None:
    """Bring the table `features` up to date, a copy of the networks' default inputs to look at.

    \b
    Example:
      tidecast features
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug, out)
        from tidecast.flows.config.state_folder import hold
        from tidecast.flows.feature_table import build
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "building features"):
            built = build(Workspace(folder, settings).warehouse, as_of, settings.positive)
        facts(out, [("Features", f"{built.written:,} rows new or changed, as known on {built.as_of}")])


@click.command()
@click.option("--deep", is_flag=True, help="Read every file of the tables, and count rows against the table runs.")
@everywhere
def doctor(home: str | None, debug: bool, deep: bool) -> None:
    """Print every setting and where it came from, versions, tables and the lock, and name problems.

    \b
    Example:
      tidecast doctor
      tidecast doctor --deep
    """
    with one_line_errors(debug):
        folder = find_state_folder(home, os.environ, Path.cwd())
        out = console()
        enter_state_folder(folder, debug)
        from tidecast.flows.cli.doctor import examine

        if examine(out, folder, deep):
            sys.exit(FAILED)
