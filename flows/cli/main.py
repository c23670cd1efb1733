"""The `tidecast` command and its subcommands.

Each subcommand imports heavy libraries when it runs, so that `--help` answers at once.
"""

import signal
from typing import Any, NoReturn

import click

from tidecast.flows import safe_output
from tidecast.flows.cli.check import check
from tidecast.flows.cli.day import backfill, run, schedule, show
from tidecast.flows.cli.models import backtest, decisions, promote, rollback, train, tune
from tidecast.flows.cli.quarantine import quarantine
from tidecast.flows.cli.upkeep import doctor, features, maintain, ui


class _Guarded(click.Group):
    """Commands that print no secrets."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with safe_output.output():
            return super().main(*args, **kwargs)


@click.group(cls=_Guarded, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tidecast", message="%(prog)s %(version)s")
def tidecast() -> None:
    """Daily forecasts of price series, published only when they beat the random walk.

    \b
    Example:
      tidecast run          forecast the bundled ECB exchange rates
      tidecast show         look at the newest forecast
    """


for command in (
    run, backfill, schedule, show, check, train, tune, backtest, promote, rollback, decisions, ui, quarantine, maintain,
    features, doctor,
):  # fmt: skip
    tidecast.add_command(command)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command. SIGTERM is treated like Ctrl-C, so that child processes are stopped first."""
    signal.signal(signal.SIGTERM, _interrupt)
    tidecast(prog_name="tidecast")
