"""Commands for rows in quarantine: list, release, repair."""

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from tidecast.features.error_text import counted
from tidecast.flows.cli.answer import json_option
from tidecast.flows.cli.completion import series as forecast_series
from tidecast.flows.cli.failing import one_line_errors
from tidecast.flows.cli.help import Group
from tidecast.flows.cli.options import Day, decided_by, everywhere, existing_panel
from tidecast.flows.config.state_folder import hold


def chosen_rows(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose rows in quarantine.

    Parameters
    ----------
    command : callable
    """
    options = [
        click.option(
            "--rule", "rules", multiple=True, metavar="NAME", help="Rows that broke this rule; may be repeated."
        ),
        click.option(
            "--series",
            multiple=True,
            metavar="ID",
            shell_complete=forecast_series,
            help="Rows of this series; may be repeated.",
        ),
        click.option("--from", "first", type=Day(), metavar="DATE", help="Rows of this day and later ones."),
        click.option("--to", "last", type=Day(), metavar="DATE", help="Rows of this day and earlier ones."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=Group, invoke_without_command=True, short_help="List rows that broke a rule; release or repair them.")
@chosen_rows
@json_option
@everywhere
@click.pass_context
def quarantine(context: click.Context, home: str | None, debug: bool, as_json: bool, **rows: Any) -> None:
    """List rows that broke a rule and wait for a decision, the newest first, and the number per rule.

    Reads the tables quarantine and repairs; writes nothing.

    \b
    Examples:
      tidecast quarantine --rule unit_error
      tidecast quarantine release --series AET --from 2026-05-03 --why "the price is right"
      tidecast quarantine repair --series AET --from 2026-05-03 --to 2026-05-03 --value close=14.55 --why "pence"
      tidecast quarantine repair --rule unit_error --multiply 100 --why "pence"
    """
    if context.invoked_subcommand is not None:
        return
    with one_line_errors(debug, as_json) as answer:
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.cli.show import show_quarantine  # polars takes half a second

        show_quarantine(answer, folder, settings, **rows)


@quarantine.command(short_help="Accept rows as they were delivered.")
@chosen_rows
@decided_by
@json_option
@everywhere
def release(home: str | None, debug: bool, as_json: bool, by: str | None, why: str, **rows: Any) -> None:
    """Release rows from quarantine: they become prices as they were delivered.

    They are known from the newest session of the panel on. Forecasts that were issued earlier do not change.

    Writes the tables repairs and prices.

    \b
    Example:
      tidecast quarantine release --rule unit_error --series AET --why "one share became a hundred"
    """
    decide_on_rows(home, debug, as_json, rows, by, why)


@quarantine.command(short_help="Accept rows with the right values.")
@chosen_rows
@click.option(
    "--value", "values", multiple=True, metavar="NAME=X", help="The right value, like close=14.55; repeatable."
)
@click.option("--multiply", type=float, metavar="X", help="Multiply open, high, low and close by this.")
@decided_by
@json_option
@everywhere
def repair(
    home: str | None,
    debug: bool,
    as_json: bool,
    by: str | None,
    why: str,
    values: tuple[str, ...],
    multiply: float | None,
    **rows: Any,
) -> None:
    """Repair rows in quarantine: they become prices with the right values.

    Writes the tables repairs and prices.

    \b
    Examples:
      tidecast quarantine repair --series AET --from 2026-05-03 --to 2026-05-03 --value close=14.55 --why "typing error"
      tidecast quarantine repair --rule unit_error --series AET --multiply 100 --why "pence"
    """
    if not values and multiply is None:
        raise click.UsageError("A repair needs --value NAME=X or --multiply X. To accept rows as delivered: release.")
    decide_on_rows(home, debug, as_json, rows, by, why, repaired_values(values), multiply)


def repaired_values(texts: tuple[str, ...]) -> dict[str, float]:
    """Return texts like "close=14.55" as names and numbers.

    Parameters
    ----------
    texts : tuple of str

    Raises
    ------
    click.BadParameter
        A text has another form, or its value is not a number.
    """
    names = ("close", "open", "high", "low", "volume")
    values = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            values[name] = float(number)
        except ValueError:
            values[name] = float("nan")
        if name not in names or values[name] != values[name]:
            raise click.BadParameter(
                f"must be a number with one of the names {', '.join(names)}, like close=14.55, got {text!r}.",
                param_hint="--value",
            )
    return values


def decide_on_rows(
    home: str | None,
    debug: bool,
    as_json: bool,
    rows: dict[str, Any],
    by: str | None,
    why: str,
    values: dict[str, float] | None = None,
    factor: float | None = None,
) -> None:
    """Release or repair the chosen rows, while no run is at work.

    Parameters
    ----------
    home : str or None
        As ``--home``.
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    as_json : bool
        As ``--json``.
    rows : dict
        Rules, series and days that choose the rows, as `release_rows` takes them.
    by : str or None
        Who decides. None: the user's name.
    why : str
        The reason.
    values : dict, optional
        New values by column; None: release the rows as they are.
    factor : float, optional
        Multiplies the prices of the rows.

    Raises
    ------
    click.UsageError
        Nothing chooses rows.
    """
    if not any(rows.values()):
        raise click.UsageError("Choose the rows: --rule, --series, --from or --to. See them all: tidecast quarantine")
    with one_line_errors(debug, as_json) as answer:
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.steps.release import release_rows  # polars and the calendars take a second to import
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, "tidecast quarantine"):
            warehouse = Workspace(folder, settings).warehouse
            count = release_rows(
                warehouse, settings, rows, by=by or getpass.getuser(), why=why, at=datetime.now(UTC), values=values,
                factor=factor,
            )  # fmt: skip
        answer.give({"home": folder.path, "rows": count, "known_from": warehouse.newest_seen()})
        answer.out.print(
            f"{counted(count, 'row is a price', 'rows are prices')} now, known from {warehouse.newest_seen()} on."
        )
