"""The `tidecast` command: options in, one-line errors and exit codes out. The first line comes before heavy imports.

Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage, 75 another run holds the state folder.
"""

import contextlib
import getpass
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from flows.errors import Busy, SettingsError, TidecastError
from flows.home import Home, find_home
from flows.prefect_home import enter
from flows.terminal import console, facts, progress

if TYPE_CHECKING:
    from rich.console import Console

    from flows.settings import Settings

FAILED, WRONG_USAGE, INTERRUPTED, BUSY = 1, 2, 130, 75
TABLE_SUFFIXES = (".csv", ".parquet")


class Day(click.ParamType):
    """A calendar day, written 2026-11-20."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"a day must be written like 2026-11-20, got {value!r}.", param, ctx)


class Levels(click.ParamType):
    """Quantile levels, written 0.1,0.5,0.9."""

    name = "levels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"quantiles must be numbers with commas between, like 0.1,0.5,0.9, got {value!r}.", param, ctx)


def everywhere(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every command has."""
    where = click.option("--home", metavar="DIR", help="State folder. Default: the nearest .tidecast upwards, or here.")
    debug = click.option("--debug", is_flag=True, help="Show tracebacks and the logs of other libraries.")
    return where(debug(command))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tidecast", message="%(prog)s %(version)s")
def tidecast() -> None:
    """Daily forecasts of price series, published only when they beat the random walk.

    \b
    Example:
      tidecast run          forecast the bundled ECB exchange rates
      tidecast show         look at the newest forecast
    """


@tidecast.command()
@click.option("--source", metavar="URI", help="A file, folder, pattern, database or web address.  [default: ecb]")
@click.option("--table", metavar="NAME", help="The database's table or view, or SCHEMA.TABLE.")
@click.option("--query", metavar="SELECT", help="In place of --table: a query that gives the prices.")
@click.option("--series-id", metavar="COL", help="The source's column that names the series.")
@click.option("--time", "time_column", metavar="COL", help="The source's column of session dates.")
@click.option("--target", metavar="COL", help="The source's column to forecast.")
@click.option(
    "--known-at", metavar="COL", help="The source's column that says when a row was last changed, if it has one."
)
@click.option("--calendar", metavar="NAME", help="Sessions: weekdays, 24/7, TARGET, or an exchange's code like XNYS.")
@click.option("--horizon", type=int, metavar="N", help="Sessions ahead.  [default: 5]")
@click.option("--quantiles", type=Levels(), metavar="LEVELS", help="Like 0.1,0.5,0.9.  [default: 0.05, 0.10, … 0.95]")
@click.option("--as-of", type=Day(), metavar="DATE", help="Stand on this session.  [default: the newest]")
@click.option("--reissue", is_flag=True, help="Replace the forecasts already issued for that session.")
@click.option("--output", metavar="FILE", help="Write the forecast table there too, as .csv or .parquet.")
@everywhere
def run(
    home: str | None,
    debug: bool,
    as_of: date | None,
    reissue: bool,
    output: str | None,
    time_column: str | None,
    **flags: Any,
) -> None:
    """Take in new prices, forecast, publish, score what has come true, and train when it is due.

    The second day is plain `tidecast run`: source and columns are remembered.

    \b
    Examples:
      tidecast run
      tidecast run --source prices.csv --series-id Name --time Date --target Close
      tidecast run --source 'postgresql://me:${PGPASSWORD}@host/db' --table prices --series-id symbol --time day
      tidecast run --as-of 2026-05-29 --output forecasts.csv
    """
    with one_line_errors(debug):
        target = writable_table(output)
        place = find_home(home, os.environ, Path.cwd())
        out = console()
        facts(out, [("Home", f"{place.path} ({'new' if place.created else 'found'})")])
        with progress(out):
            enter(place.prefect, os.environ, debug)
            settings = settings_of(place, {**flags, "time": time_column}, out)
            from flows.launch import run_day
            from flows.place import Incomplete

            incomplete = None
            try:
                day = run_day(place, settings, as_of, reissue)
            except Incomplete as error:
                day, incomplete = error.day, error
        from flows.show import summary, write_table

        summary(out, day)
        if target is not None:
            write_table(day, target)
            facts(out, [("Output", str(target))])
        if incomplete is not None:
            raise incomplete


@tidecast.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Port of the server started here.  [default: 4200]"
)
@everywhere
def schedule(home: str | None, debug: bool, port: int | None) -> None:
    """Run the daily forecast on a schedule, until stopped with Ctrl-C.

    Uses the Prefect server that PREFECT_API_URL or your Prefect profile names; starts one here if there is none.
    Hour and time zone are the settings cron and time_zone (TIDECAST_CRON, TIDECAST_TIME_ZONE, or pyproject.toml).

    \b
    Example:
      tidecast schedule
      TIDECAST_CRON="0 7 * * 1-5" TIDECAST_TIME_ZONE=Asia/Tokyo tidecast schedule
    """
    with one_line_errors(debug):
        place = find_home(home, os.environ, Path.cwd())
        out = console()
        facts(out, [("Home", f"{place.path} ({'new' if place.created else 'found'})")])
        with progress(out):
            enter(place.make().prefect, os.environ, debug)
            settings = settings_of(place, {}, out)
            from flows.deploy import serve_daily

            serve_daily(place, settings, port)


@tidecast.command()
@click.option("--as-of", type=Day(), metavar="DATE", help="The forecasts of this session.  [default: the newest]")
@click.option("--series", multiple=True, metavar="ID", help="Only this series; may be given again.")
@everywhere
def show(home: str | None, debug: bool, as_of: date | None, series: tuple[str, ...]) -> None:
    """Print the newest forecasts, the champion and why it is champion.

    \b
    Example:
      tidecast show
      tidecast show --as-of 2026-05-29 --series USD --series JPY
    """
    with one_line_errors(debug):
        place = existing_home(home)
        out = console()
        enter(place.prefect, os.environ, debug)
        settings = settings_of(place, {})
        from flows.show import show as show_forecasts

        show_forecasts(out, place, settings, as_of, series)


@tidecast.command()
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
@everywhere
def ui(home: str | None, debug: bool, browse: bool) -> None:
    """Serve MLflow's pages for this state folder, until stopped with Ctrl-C.

    \b
    Example:
      tidecast ui --open
    """
    with one_line_errors(debug):
        place = existing_home(home)
        out = console()
        enter(place.prefect, os.environ, debug)
        from flows.ui import serve_ui

        serve_ui(out, place, browse)


def chosen_rows(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose rows in quarantine."""
    options = [
        click.option(
            "--rule", "rules", multiple=True, metavar="NAME", help="Rows that broke this rule; may be repeated."
        ),
        click.option("--series", multiple=True, metavar="ID", help="Rows of this series; may be given again."),
        click.option("--from", "first", type=Day(), metavar="DATE", help="Rows of this day and later ones."),
        click.option("--to", "last", type=Day(), metavar="DATE", help="Rows of this day and earlier ones."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def decided_by(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say who decided, and why."""
    by = click.option("--by", metavar="NAME", help="Who decides.  [default: your user name]")
    return by(
        click.option("--why", required=True, metavar="TEXT", help="The reason; it is kept with your name.")(command)
    )


@tidecast.group(invoke_without_command=True)
@chosen_rows
@everywhere
@click.pass_context
def quarantine(context: click.Context, home: str | None, debug: bool, **rows: Any) -> None:
    """List the rows that broke a rule and wait for a decision, the newest first, and how many per rule.

    \b
    Examples:
      tidecast quarantine --rule unit_error
      tidecast quarantine release --series AET --from 2026-05-03 --why "the price is right"
      tidecast quarantine repair --series AET --from 2026-05-03 --to 2026-05-03 --value close=14.55 --why "pence"
      tidecast quarantine repair --rule unit_error --multiply 100 --why "pence"
    """
    if context.invoked_subcommand is not None:
        return
    with one_line_errors(debug):
        place = existing_home(home)
        out = console()
        enter(place.prefect, os.environ, debug)
        settings = settings_of(place, {})
        from flows.show import show_quarantine

        show_quarantine(out, place, settings, **rows)


@quarantine.command()
@chosen_rows
@decided_by
@everywhere
def release(home: str | None, debug: bool, by: str | None, why: str, **rows: Any) -> None:
    """Make prices of rows in quarantine, as they came.

    They are known from the newest session the panel has seen; earlier forecasts stay as they were issued.

    \b
    Example:
      tidecast quarantine release --rule unit_error --series AET --why "one share became a hundred"
    """
    decide_on_rows(home, debug, rows, by, why)


@quarantine.command()
@chosen_rows
@click.option("--value", "values", multiple=True, metavar="NAME=X", help="The right value, as close=14.55; repeatable.")
@click.option("--multiply", type=float, metavar="X", help="Multiply open, high, low and close by this.")
@decided_by
@everywhere
def repair(
    home: str | None,
    debug: bool,
    by: str | None,
    why: str,
    values: tuple[str, ...],
    multiply: float | None,
    **rows: Any,
) -> None:
    """Make prices of rows in quarantine, with the right values.

    \b
    Examples:
      tidecast quarantine repair --series AET --from 2026-05-03 --to 2026-05-03 --value close=14.55 --why "typing error"
      tidecast quarantine repair --rule unit_error --series AET --multiply 100 --why "pence"
    """
    if not values and multiply is None:
        raise click.UsageError("A repair needs --value NAME=X or --multiply X. To take rows as they came: release.")
    decide_on_rows(home, debug, rows, by, why, repaired_values(values), multiply)


def repaired_values(texts: tuple[str, ...]) -> dict[str, float]:
    """ "close=14.55" as a name and a number."""
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
                f"must be one of {', '.join(names)}, =, and a number, got {text!r}.", param_hint="--value"
            )
    return values


def decide_on_rows(
    home: str | None,
    debug: bool,
    rows: dict[str, Any],
    by: str | None,
    why: str,
    values: dict[str, float] | None = None,
    factor: float | None = None,
) -> None:
    """Release or repair the chosen rows, while no run goes on."""
    if not any(rows.values()):
        raise click.UsageError(
            "Choose the rows: --rule, --series, --from or --to. See what there is: tidecast quarantine"
        )
    with one_line_errors(debug):
        place = existing_home(home)
        out = console()
        enter(place.prefect, os.environ, debug)
        settings = settings_of(place, {})
        from flows.show import decide

        decide(out, place, settings, rows, by or getpass.getuser(), why, values, factor)


@tidecast.command()
@everywhere
def maintain(home: str | None, debug: bool) -> None:
    """Join the small files of the tables, and remove those out of use for a week that no published forecast read.

    \b
    Example:
      tidecast maintain
    """
    with one_line_errors(debug):
        place = existing_home(home)
        out = console()
        enter(place.prefect, os.environ, debug)
        settings = settings_of(place, {}, out)
        from flows.home import hold
        from flows.maintenance import maintain as maintain_tables
        from flows.place import Place

        with hold(place, "the maintenance of the warehouse"):
            done = maintain_tables(Place(place, settings).warehouse)
        facts(
            out,
            [
                (name, f"{joined} files joined, {removed} not needed any more")
                for name, (joined, removed) in done.items()
            ],
        )


@tidecast.command()
@click.option("--as-of", type=Day(), metavar="DATE", help="As known on this session.  [default: the newest]")
@everywhere
def features(home: str | None, debug: bool, as_of: date | None) -> None:
    """Bring the table `features` up to date, a copy of the networks' default inputs to look at.

    \b
    Example:
      tidecast features
    """
    with one_line_errors(debug):
        place = existing_home(home)
        out = console()
        enter(place.prefect, os.environ, debug)
        settings = settings_of(place, {}, out)
        from flows.feature_table import build
        from flows.home import hold
        from flows.place import Place

        with hold(place, "building features"):
            built = build(Place(place, settings).warehouse, as_of, settings.positive)
        facts(out, [("Features", f"{built.written:,} rows new or changed, as known on {built.as_of}")])


@tidecast.command()
@everywhere
def doctor(home: str | None, debug: bool) -> None:
    """Print every setting and where it came from, versions, tables and the lock, and name problems.

    \b
    Example:
      tidecast doctor
    """
    with one_line_errors(debug):
        place = find_home(home, os.environ, Path.cwd())
        out = console()
        enter(place.prefect, os.environ, debug)
        from flows.doctor import examine

        if examine(out, place):
            sys.exit(FAILED)


def settings_of(place: Home, flags: dict[str, Any], out: "Console | None" = None) -> "Settings":
    """The settings in force; on `out`, the line that says which source is used."""
    from flows.settings import BUNDLED, load_settings

    settings, origins = load_settings(place, flags, os.environ, Path.cwd())
    if out is not None:
        bundled = {"ecb": "the bundled ECB euro reference rates", "eia": "the bundled EIA energy spot prices"}
        name = bundled[settings.source] if settings.source in BUNDLED else settings.source
        why = {"default": " (none given with --source)", "remembered": " (remembered)"}.get(origins["source"], "")
        facts(out, [("Source", name + why)])
    return settings


def existing_home(given: str | None) -> Home:
    """The state folder, which must be there already."""
    place = find_home(given, os.environ, Path.cwd())
    if place.created:
        raise TidecastError(
            f"There must be a state folder to look at, found none at {place.path}. Start with: tidecast run"
        )
    return place


def writable_table(output: str | None) -> Path | None:
    """The path to write the forecast table to, refused before any work when it cannot be."""
    if output is None:
        return None
    path = Path(output).expanduser()
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise click.BadParameter(
            f"the file must end in {' or '.join(TABLE_SUFFIXES)}, got {output!r}.", param_hint="--output"
        )
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise click.BadParameter(f"the file must lie in an existing folder, got {output!r}.", param_hint="--output")
    return path


@contextlib.contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Every failure as one line on standard error and an exit code; with `debug`, the traceback before it."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except KeyboardInterrupt:
        stop("Stopped. Nothing is half-written; the same command again goes on from there.", INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        stop(one_line(error), exit_code(error))


def one_line(error: Exception) -> str:
    """What happened, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, TidecastError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text or 'no message'}. Run again with --debug to see where."


def exit_code(error: Exception) -> int:
    """75 when another run holds the folder, 2 for settings that cannot be, else 1."""
    return BUSY if isinstance(error, Busy) else WRONG_USAGE if isinstance(error, SettingsError) else FAILED


def stop(message: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    console(stderr=True).print(f"tidecast: {message}")
    sys.exit(code)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the command. Being ended by the system is like Ctrl-C: what was started is stopped first."""
    signal.signal(signal.SIGTERM, _interrupt)
    tidecast(prog_name="tidecast")
