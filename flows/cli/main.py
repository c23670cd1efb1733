"""The `tidecast` command and its subcommands.

Each subcommand imports heavy libraries when it runs, so that `--help` answers at once.
"""

import os
import signal
from typing import Any, NoReturn

import click

from tidecast.flows import safe_output
from tidecast.flows.cli.check import check
from tidecast.flows.cli.completion import completion
from tidecast.flows.cli.day import backfill, run, schedule, show
from tidecast.flows.cli.help import Sections
from tidecast.flows.cli.models import backtest, decisions, promote, rollback, train, tune
from tidecast.flows.cli.quarantine import quarantine
from tidecast.flows.cli.upkeep import doctor, features, maintain, ui
from tidecast.flows.interrupt import INTERRUPTED

SECTIONS = {
    "Every day": (run, schedule, backfill),
    "Look": (show, check, decisions, quarantine, ui),
    "Models": (train, tune, backtest, promote, rollback),
    "Upkeep": (doctor, maintain, features, completion),
}
"""All commands, in the order in which a newcomer needs them."""


class _Guarded(Sections):
    """Commands that print no secrets."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with safe_output.output():
            return super().main(*args, **kwargs)


@click.group(
    cls=_Guarded,
    sections={heading: [str(command.name) for command in commands] for heading, commands in SECTIONS.items()},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="tidecast", message="%(prog)s %(version)s")
def tidecast() -> None:
    """Daily forecasts of price series, published only when they beat the random walk.

    \b
    Start here:
      tidecast run       forecast the bundled ECB rates
      tidecast show      look at the newest forecast
      tidecast run -h    forecast prices of your own

    All files of a panel lie in one folder, .tidecast, in the folder where you start; --home names another.

    Exit codes: 0 done or nothing to do, 1 failed, 2 wrong use, 3 incomplete (published, but a step failed) or, of
    check, something was found, 75 another run is at work.
    """


for command in [command for commands in SECTIONS.values() for command in commands]:
    tidecast.add_command(command)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command. SIGTERM is treated like Ctrl-C, so that child processes are stopped first."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        tidecast(prog_name="tidecast")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # all is said; libraries would wait for their threads and servers
            os._exit(INTERRUPTED)
        raise
