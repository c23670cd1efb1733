"""The command that tells cron and other monitors how a panel is doing."""

import sys
from datetime import UTC, datetime

import click

from tidecast.flows.cli.answer import json_option
from tidecast.flows.cli.failing import one_line_errors
from tidecast.flows.cli.help import Command
from tidecast.flows.cli.options import everywhere, existing_panel
from tidecast.flows.cli.terminal import facts

FOUND = 3
"""Exit code when something was found. 1 is a failure of the command itself."""


@click.command(cls=Command, short_help="Say what is wrong; exit code 3 when something is.")
@json_option
@everywhere
def check(home: str | None, debug: bool, as_json: bool) -> None:
    """Say what is wrong with feed, series, inputs, champion and runs: since when, how sure, what to do.

    Exit code 0: all is fine. 3: something was found. 1: the check itself failed. Prices are not asked for; the tables
    say when they last were.

    Reads the tables of the state folder; writes nothing.

    \b
    Example:
      tidecast check
      tidecast check --json
    """
    with one_line_errors(debug, as_json) as answer:
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.cli.answers import pooled  # polars and scipy take a second
        from tidecast.flows.errors import TidecastError
        from tidecast.flows.steps.watching import watch_stored
        from tidecast.flows.watch.finding import FINE, STATES
        from tidecast.flows.watch.record_text import record_lines
        from tidecast.flows.workspace.workspace import Workspace

        workspace, now = Workspace(folder, settings), datetime.now(UTC)
        as_of = workspace.warehouse.newest_session()
        if as_of is None:
            raise TidecastError("There must be prices to check, found none. Start with: tidecast run")
        watched = watch_stored(workspace, as_of, now)
        checked = watched.checked
        answer.give({
            "home": folder.path, "as_of": as_of, "checked_at": now.isoformat(timespec="seconds"),
            "states": checked.states, "findings": [found.to_dict() for found in checked.findings],
            "record": pooled(watched.record),
        })  # fmt: skip
        if not as_json:
            out = answer.out
            for found in checked.findings:
                facts(out, [
                    (STATES[found.state].capitalize(), found.what), ("since", str(found.since)),
                    ("how sure", found.how_sure), ("to do", found.to_do),
                ])  # fmt: skip
                out.print()
            state = "Fine: nothing was found." if checked.states == (FINE,) else f"{len(checked.findings)} found."
            facts(out, [("State", state), ("Session", str(as_of)), ("Record", record_lines(watched.record))])
        if checked.findings:
            sys.exit(FOUND)
