"""Commands for the models: train, tune, backtest, and choose the champion by hand."""

import getpass
import shlex
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tidecast.flows.cli.failing import one_line_errors
from tidecast.flows.cli.options import Day, decided_by, everywhere, existing_panel, writable_table
from tidecast.flows.cli.terminal import console, facts, progress
from tidecast.flows.config.state_folder import hold
from tidecast.flows.reporting.model_names import readable

if TYPE_CHECKING:
    from tidecast.flows.steps.promote import Promoter  # torch and MLflow take seconds


class ModelName(click.ParamType):
    """A model that a backtest can score: a network by its cell's name, a benchmark or the average, in any case."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        by_lower = {name.lower(): name for name in self._names()}
        if str(value).lower() not in by_lower:
            self.fail(f"a model must be one of {', '.join(by_lower.values())}, got {value!r}.", param, ctx)
        return by_lower[str(value).lower()]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self._names())}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self._names() if name.lower().startswith(incomplete.lower())]

    @staticmethod
    def _names() -> tuple[str, ...]:
        from tidecast.flows.config.settings import (  # takes a second, and `tidecast --help` need not wait for it
            DRIFT,
            MODELS,
        )

        return (*MODELS, DRIFT)


@click.command()
@click.option("--as-of", type=Day(), metavar="DATE", help="Use no later row.  [default: the newest session]")
@click.option("--anew", is_flag=True, help="The champion's model is lost: train its recipe again. Decisions stay.")
@everywhere
def train(home: str | None, debug: bool, as_of: date | None, anew: bool) -> None:
    """Train on the stored prices; the rules of the gate decide which version is champion.

    A new recipe is tested if the last test was at least gate.every sessions ago. Otherwise the champion's recipe is
    refit on all rows.

    \b
    Example:
      tidecast train
      tidecast train --as-of 2026-05-29
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug, out)
        with progress(out):
            from tidecast.flows.steps.promote import Promoter, training_session  # torch and MLflow take seconds
            from tidecast.flows.workspace.workspace import Workspace

            with hold(folder, "tidecast train"):
                workspace = Workspace(folder, settings)
                session = training_session(workspace.warehouse, settings, as_of)
                row = Promoter.of(workspace).train(session, getpass.getuser(), anew=anew)
        print_decision(row)


@click.command()
@click.option("--trials", type=click.IntRange(min=1), default=50, metavar="N", help="Trials in all.  [default: 50]")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=60, metavar="N",
    help="Stop after N minutes.  [default: 60]",
)  # fmt: skip
@click.option("--as-of", type=Day(), metavar="DATE", help="Use prices known on this session.  [default: the newest]")
@everywhere
def tune(home: str | None, debug: bool, trials: int, minutes: float, as_of: date | None) -> None:
    """Search for better settings of the networks, on prices that are older than those a gate tests on.

    The best recipe is one more candidate of the next selection, and must pass the gate like any other. Each trial is
    shown in MLflow while it runs. A search that was stopped or killed continues with the same command. The daily
    forecast may run at the same time. The search uses n_jobs processes (TIDECAST_N_JOBS).

    \b
    Example:
      tidecast tune
      tidecast tune --trials 200 --minutes 600
    """
    with one_line_errors(debug):
        out = console()
        with progress(out):
            folder, settings = existing_panel(home, debug, out)
            from tidecast.flows.scheduling.launch import run_tuning  # polars and the sources take a second

            tuned = run_tuning(folder, settings, as_of, trials, 60 * minutes)
        from tidecast.flows.tracking.tuning_record import best_of, counts_of  # torch takes seconds

        out.print()
        found = (
            f"{counts_of(tuned)}\n{best_of(tuned)}\nThe best of many trials looks better than it is; the gate decides."
        )
        facts(out, [("Tuning", found), ("Models", f"tidecast ui --home {shlex.quote(str(folder.path))}")])


@click.command()
@click.option("--model", "models", multiple=True, type=ModelName(),
              help="A model to score; may be repeated.  [default: those of the setting models, and drift]")  # fmt: skip
@click.option("--folds", type=click.IntRange(1, 50), default=2, show_default=True, help="Refits of each model.")
@click.option("--seeds", type=click.IntRange(1, 20), default=1, show_default=True,
              help="Seeds of each network; a line for each.")  # fmt: skip
@click.option(
    "--include-gate",
    is_flag=True,
    help="Also use the newest origins, on which the gate tests, in a table of their own.",
)
@click.option("--output", metavar="FILE", help="Also write the scores to this file, .csv or .parquet.")
@everywhere
def backtest(
    home: str | None,
    debug: bool,
    models: tuple[str, ...],
    folds: int,
    seeds: int,
    include_gate: bool,
    output: str | None,
) -> None:
    """Score models on the stored prices against the random walk, out of sample. No decision depends on it.

    The newest origins, on which the gate tests, are left out: a model chosen on them cannot be evaluated on them.

    \b
    Example:
      tidecast backtest
      tidecast backtest --model GRU --model drift --folds 4 --output scores.csv
      tidecast backtest --seeds 3 --folds 8 --include-gate
    """
    with one_line_errors(debug):
        target = writable_table(output)
        out = console()
        folder, settings = existing_panel(home, debug, out)
        with progress(out):
            from tidecast.flows.training.backtest_panel import backtest_panel  # torch takes seconds
            from tidecast.flows.workspace.workspace import Workspace

            warehouse = Workspace(folder, settings).warehouse
            found = backtest_panel(warehouse, settings, models, folds, include_gate, seeds)
        from tidecast.flows.cli.show import write_table  # polars takes half a second
        from tidecast.flows.cli.show_models import backtest_tables  # torch takes seconds

        for period, compared in found.compared.items():
            if len(found.compared) > 1:
                out.print(f"\n{period.capitalize()}:")
            for table in backtest_tables(compared):
                out.print()
                out.print(table)
        facts(out, [("Judged", found.judged)])
        if target is not None:
            write_table(found.summary, target)
            facts(out, [("Output", str(target))])


@click.command()
@click.argument("version", required=False)
@click.option("--challenger", is_flag=True, help="The version with the alias challenger.")
@decided_by
@everywhere
def promote(home: str | None, debug: bool, by: str | None, why: str, version: str | None, challenger: bool) -> None:
    """Make a version champion by hand, whatever the gate says. Your name and the reason are stored.

    \b
    Example:
      tidecast promote 3 --why "version 4 was trained on a wrong price"
      tidecast promote --challenger --why "its training was stopped before it was promoted"
    """
    if challenger == (version is not None):
        raise click.UsageError("Name a version, or --challenger. See what there is: tidecast decisions")

    by_hand(home, debug, by, "tidecast promote", lambda promoter, by: promoter.promote(version, by, why))


@click.command()
@decided_by
@everywhere
def rollback(home: str | None, debug: bool, by: str | None, why: str) -> None:
    """Make the previous champion champion again. Your name and the reason are stored.

    \b
    Example:
      tidecast rollback --why "the intervals of version 4 are too wide"
    """
    by_hand(home, debug, by, "tidecast rollback", lambda promoter, by: promoter.rollback(by, why))


@click.command()
@everywhere
def decisions(home: str | None, debug: bool) -> None:
    """List all decisions on the champion, the newest last, and the reason of the last one.

    \b
    Example:
      tidecast decisions
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.cli.show_models import show_decisions  # torch takes seconds
        from tidecast.flows.workspace.workspace import Workspace

        show_decisions(out, Workspace(folder, settings).warehouse.decisions())


def by_hand(
    home: str | None, debug: bool, by: str | None, what: str, choose: Callable[["Promoter", str], dict[str, Any]]
) -> None:
    """Let a person choose the champion, while no run is at work.

    Parameters
    ----------
    home : str or None
        As ``--home``.
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    by : str or None
        Who decides. None: the user's name.
    what : str
        What the command does. The message names it if another run holds the folder.
    choose : callable
        Called with the promoter and the name; returns the row of the decision.
    """
    with one_line_errors(debug):
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.steps.promote import Promoter  # torch and MLflow take seconds
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, what):
            row = choose(Promoter.of(Workspace(folder, settings)), by or getpass.getuser())
        print_decision(row)


def print_decision(row: dict[str, Any]) -> None:
    """Print the decision in two lines.

    Parameters
    ----------
    row : dict
        Of `decisions`.
    """
    name = readable(str(row["winner"]))
    facts(console(), [("Decided", str(row["reason"])), ("Champion", f"{name}, version {row['version']}")])
