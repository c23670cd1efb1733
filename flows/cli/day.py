"""Commands for the daily forecast: run, backfill, schedule, show."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import click

from tidecast.flows.cli.answer import json_option
from tidecast.flows.cli.completion import series as forecast_series
from tidecast.flows.cli.completion import sessions
from tidecast.flows.cli.failing import one_line_errors
from tidecast.flows.cli.help import Command
from tidecast.flows.cli.options import (
    Day,
    Levels,
    enter_state_folder,
    everywhere,
    existing_panel,
    panel_to_schedule,
    settings_of,
    writable_table,
)
from tidecast.flows.cli.terminal import console, facts, progress
from tidecast.flows.config.state_folder import find_state_folder
from tidecast.flows.errors import Partial


@click.command(cls=Command, short_help="Take in new prices, forecast, publish; train when due.")
@click.option("--source", metavar="URI", help="A file, folder, pattern, database or web address.  [default: ecb]")
@click.option("--table", metavar="NAME", help="The database's table or view, or SCHEMA.TABLE.")
@click.option("--query", metavar="SELECT", help="Instead of --table: a query that gives the prices.")
@click.option("--series-id", metavar="COL", help="The source's column that names the series.")
@click.option("--time", "time_column", metavar="COL", help="The source's column of session dates.")
@click.option("--target", metavar="COL", help="The source's column to forecast.")
@click.option(
    "--known-at", metavar="COL", help="The source's column of times at which a row was last changed, if it has one."
)
@click.option(
    "--covariate",
    "covariates",
    multiple=True,
    metavar="COL",
    help="Another column of numbers to learn from, as known on the day; may be repeated.",
)
@click.option(
    "--static",
    multiple=True,
    metavar="COL",
    help="A column of numbers or text that is constant for a series, like its sector; may be repeated.",
)
@click.option("--future", metavar="URI", help="Where covariates come from that are known before their session.")
@click.option("--future-table", metavar="NAME", help="For a database there: the table or view, or a SELECT.")
@click.option(
    "--future-covariate",
    "future_covariates",
    multiple=True,
    metavar="COL",
    help="A column of numbers there to learn from; may be repeated.",
)
@click.option("--events", metavar="URI", help="Where events come from, such as earnings dates: time and kind.")
@click.option("--events-table", metavar="NAME", help="For a database there: the table or view, or a SELECT.")
@click.option("--calendar", metavar="NAME", help="Sessions: weekdays, 24/7, TARGET, or an exchange's code like XNYS.")
@click.option("--horizon", type=int, metavar="N", help="Sessions ahead.  [default: 5]")
@click.option("--quantiles", type=Levels(), metavar="LEVELS", help="Like 0.1,0.5,0.9.  [default: 0.05, 0.10, … 0.95]")
@click.option(
    "--as-of",
    type=Day(),
    metavar="DATE",
    shell_complete=sessions,
    help="Forecast from this session.  [default: the newest]",
)
@click.option("--reissue", is_flag=True, help="Replace the forecasts already issued for that session.")
@click.option("--output", metavar="FILE", help="Also write the forecast table to this file, .csv or .parquet.")
@json_option
@everywhere
def run(
    home: str | None,
    debug: bool,
    as_json: bool,
    as_of: date | None,
    reissue: bool,
    output: str | None,
    time_column: str | None,
    **flags: Any,
) -> None:
    """Store new prices, forecast, publish, score forecasts that have come true, and train when it is due.

    The second day is plain `tidecast run`: source and columns are remembered.

    Reads the source. Writes tables, models and a report in the state folder, and the file of --output.

    \b
    Examples:
      tidecast run
      tidecast run --source prices.csv --series-id Name --time Date --target Close
      tidecast run --source 'postgresql://me:${PGPASSWORD}@host/db' --table prices --series-id symbol --time day
      tidecast run --as-of 2026-05-29 --output forecasts.csv
    """
    with one_line_errors(debug, as_json) as answer:
        target = writable_table(output)
        folder = find_state_folder(home, os.environ, Path.cwd())
        out = answer.out
        answer.give({"home": folder.path})
        facts(out, [("Home", f"{folder.path} ({'new' if folder.created else 'found'})")])
        with progress(out):
            enter_state_folder(folder, debug)
            flags |= {name: flags[name] or None for name in ("covariates", "static", "future_covariates")}
            settings = settings_of(folder, {**flags, "time": time_column}, out)
            from tidecast.flows.scheduling.launch import run_day  # polars and the sources take a second
            from tidecast.flows.steps.day import Incomplete

            incomplete = None
            try:
                day = run_day(folder, settings, as_of, reissue)
            except Incomplete as error:
                day, incomplete = error.day, error
        from tidecast.flows.cli.answers import day_fields  # polars takes half a second
        from tidecast.flows.cli.show import summary, write_table

        if as_json:
            answer.give({"source": settings.source, **day_fields(day), "output": target})
        else:
            summary(out, day, as_of)
        if target is not None:
            write_table(day.workspace.warehouse.forecasts(day.as_of).drop("year"), target)
            facts(out, [("Output", str(target))])
        if incomplete is not None:
            raise incomplete
        if day.shortfall:
            left_out = " The others are left out." if day.without_forecast else ""
            raise Partial(day.shortfall + left_out)


@click.command(cls=Command, short_help="Publish past sessions that have no forecasts.")
@click.option("--from", "first", type=Day(), required=True, metavar="DATE", help="The first session.")
@click.option("--to", "last", type=Day(), required=True, metavar="DATE", help="The last session.")
@json_option
@everywhere
def backfill(home: str | None, debug: bool, as_json: bool, first: date, last: date) -> None:
    """Publish past sessions that have no forecasts, oldest first, each with what was known then.

    Nothing is trained: a session uses the champion of that day, else the champion's recipe refit on older rows, else
    the random walk. Sessions that are done are skipped; a backfill that was stopped continues with the same command.
    Forecasts issued more than one session late are not part of the live record.

    Reads the stored prices. Writes tables and reports in the state folder.

    \b
    Example:
      tidecast backfill --from 2026-05-01 --to 2026-05-29
    """
    with one_line_errors(debug, as_json) as answer:
        if last < first:
            raise click.BadParameter(f"it must not lie before --from {first}, got {last}.", param_hint="--to")
        out = answer.out
        with progress(out):
            folder, settings = existing_panel(home, debug, out)
            from tidecast.flows.scheduling.launch import run_backfill  # polars and the sources take a second
            from tidecast.flows.steps.backfill import BackfillIncomplete

            incomplete = None
            try:
                found = run_backfill(folder, settings, first, last)
            except BackfillIncomplete as error:
                found, incomplete = error.result, error
        answer.give({
            "home": folder.path, "published": found.published, "done_before": found.done_before,
            "failed": found.failed, "shortfalls": {day: text for day, text in found.shortfalls.items() if text},
        })  # fmt: skip
        if incomplete is not None:
            raise incomplete
        facts(out, [("Backfill", found.text), ("Show", f"tidecast show --as-of {max(found.published, default=last)}")])
        if found.shortfall:
            raise Partial(found.shortfall)


@click.command(cls=Command, short_help="Run the forecast after each close, until stopped.")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Port of the server started here.  [default: 4200]"
)
@click.option("--source", metavar="URI", help="Schedule a panel that has not run yet: where its prices come from.")
@click.option("--write", "file", metavar="FILE", help="Only write a prefect.yaml with the deployments.")
@click.option("--pool", metavar="NAME", default="tidecast", help="With --write: the work pool.  [default: tidecast]")
@everywhere
def schedule(home: str | None, debug: bool, port: int | None, source: str | None, file: str | None, pool: str) -> None:
    """Forecast after each close of the panel's market, until stopped with Ctrl-C; search and tidy up once a month.

    The Prefect server is the one that PREFECT_API_URL or your Prefect profile names; without one, it is started here.
    Exchange calendars give hours, holidays and half days; after_close says how many minutes after the close to run,
    cron and time_zone set times of your own (TIDECAST_AFTER_CLOSE, TIDECAST_CRON, TIDECAST_TIME_ZONE).

    Writes what each run writes; with --write only that file.

    \b
    Example:
      tidecast schedule
      tidecast schedule --write prefect.yaml --pool forecasts
      TIDECAST_CRON="0 7 * * 1-5" tidecast schedule
    """
    with one_line_errors(debug, serves=True):
        out = console()
        folder, settings, origins = panel_to_schedule(home, source, debug, out)
        if source is not None:
            os.environ["TIDECAST_SOURCE"] = settings.source  # runs are processes of their own
        with progress(out):
            if file is not None:
                from tidecast.flows.scheduling.prefect_yaml import write_prefect_yaml  # Prefect takes a second

                path = write_prefect_yaml(Path(file), folder, settings, origins, pool)
                facts(out, [("Written", str(path)), ("Next", "its first lines say how to deploy it")])
                return
            from tidecast.flows.scheduling.schedule import serve_panel  # Prefect takes a second

            serve_panel(folder, settings, port)


@click.command(cls=Command, short_help="Print the newest forecasts and the champion.")
@click.option("--as-of", type=Day(), metavar="DATE", shell_complete=sessions,
              help="The forecasts of this session.  [default: the newest]")  # fmt: skip
@click.option("--series", multiple=True, metavar="ID", shell_complete=forecast_series,
              help="Only this series; may be repeated.")  # fmt: skip
@json_option
@everywhere
def show(home: str | None, debug: bool, as_json: bool, as_of: date | None, series: tuple[str, ...]) -> None:
    """Print the newest forecasts, the champion and why it is champion.

    Reads the tables of the state folder; writes nothing.

    \b
    Example:
      tidecast show
      tidecast show --as-of 2026-05-29 --series USD --series JPY
    """
    with one_line_errors(debug, as_json) as answer:
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.cli.show import show as show_forecasts  # polars takes half a second

        show_forecasts(answer, folder, settings, as_of, series)
