"""The models from the command line: train, tune, backtest, and choose the champion by hand."""

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

if TYPE_CHECKING:
    from tidecast.flows.steps.promote import Promoter


class ModelName(click.ParamType):
    """A model that a backtest can score: a network by its cell's name, or "drift", in any case."""

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
@click.option("--as-of", type=Day(), metavar="DATE", help="See no later row.  [default: the newest session]")
@click.option("--anew", is_flag=True, help="The champion's model is lost: train its recipe again. Decisions stay.")
@everywhere
def train(home: str | None, debug: bool, as_of: date | None, anew: bool) -> None:
    """Train on the stored prices, and let the rules of the gate decide who is champion.

    A new recipe is tested when the last test is far enough back (gate.every sessions); otherwise the champion's recipe
    is refit on all rows.

    \b
    Example:
      tidecast train
      tidecast train --as-of 2026-05-29
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug, out)
        with progress(out):
            from tidecast.flows.config.state_folder import hold
            from tidecast.flows.steps.promote import Promoter, training_session
            from tidecast.flows.workspace.workspace import Workspace

            with hold(folder, "tidecast train"):
                workspace = Workspace(folder, settings)
                session = training_session(workspace.warehouse, settings, as_of)
                row = Promoter.of(workspace).train(session, getpass.getuser(), anew=anew)
        say_decided(row)


@click.command()
@click.option("--trials", type=click.IntRange(min=1), default=50, metavar="N", help="Settings to try.  [default: 50]")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=60, metavar="N",
    help="Stop after so many minutes.  [default: 60]",
)  # fmt: skip
@click.option("--as-of", type=Day(), metavar="DATE", help="Stand on this session.  [default: the newest]")
@everywhere
def tune(home: str | None, debug: bool, trials: int, minutes: float, as_of: date | None) -> None:
    """Search for better settings of the networks, on prices that are older than those a gate tests on.

    What it finds is one more candidate of the next selection, and has to pass the gate like any other. Each trial is a
    run in MLflow while it runs. Stopped or killed, the same command goes on from there; the daily forecast may run
    beside it. It works with n_jobs processes (TIDECAST_N_JOBS).

    \b
    Example:
      tidecast tune
      tidecast tune --trials 200 --minutes 600
    """
    with one_line_errors(debug):
        out = console()
        with progress(out):
            folder, settings = existing_panel(home, debug, out)
            from tidecast.flows.scheduling.launch import run_tuning

            tuned = run_tuning(folder, settings, as_of, trials, 60 * minutes)
        from tidecast.flows.tracking.tuning_record import best_of, counts_of

        out.print()
        found = f"{counts_of(tuned)}\n{best_of(tuned)}\nThe best of many looks better than it is; the gate decides."
        facts(out, [("Tuning", found), ("Models", f"tidecast ui --home {shlex.quote(str(folder.path))}")])


@click.command()
@click.option("--model", "models", multiple=True, type=ModelName(),
              help="May be given again.  [default: those of the setting models, and drift]")  # fmt: skip
@click.option("--folds", type=click.IntRange(1, 50), default=2, show_default=True, help="Refits of each model.")
@click.option("--include-gate", is_flag=True, help="Look at the newest origins too, which the gate is to judge on.")
@click.option("--output", metavar="FILE", help="Write the scores there too, as .csv or .parquet.")
@everywhere
def backtest(
    home: str | None, debug: bool, models: tuple[str, ...], folds: int, include_gate: bool, output: str | None
) -> None:
    """Score models on the stored prices against the random walk, out of sample; nothing is decided on it.

    The newest origins, which the gate judges on, are left out: who has looked at them cannot be judged on them.

    \b
    Example:
      tidecast backtest
      tidecast backtest --model GRU --model drift --folds 4 --output scores.csv
    """
    with one_line_errors(debug):
        target = writable_table(output)
        out = console()
        folder, settings = existing_panel(home, debug, out)
        with progress(out):
            from tidecast.flows.training.backtest_panel import backtest_panel
            from tidecast.flows.workspace.workspace import Workspace

            warehouse = Workspace(folder, settings).warehouse
            found = backtest_panel(warehouse, settings, models, folds, include_gate)
        from tidecast.flows.cli.show import write_table
        from tidecast.flows.cli.show_models import backtest_table

        out.print()
        out.print(backtest_table(found))
        facts(out, [("Judged", found.judged)])
        if target is not None:
            write_table(found.summary, target)
            facts(out, [("Output", str(target))])


@click.command()
@click.argument("version", required=False)
@click.option("--challenger", is_flag=True, help="The version that waits to become champion.")
@decided_by
@everywhere
def promote(home: str | None, debug: bool, by: str | None, why: str, version: str | None, challenger: bool) -> None:
    """Make a version champion by hand, whatever the gate says; it is kept who did so and why.

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
    """Make the champion before this one champion again; it is kept who did so and why.

    \b
    Example:
      tidecast rollback --why "the spread of version 4 is too wide"
    """
    by_hand(home, debug, by, "tidecast rollback", lambda promoter, by: promoter.rollback(by, why))


@click.command()
@everywhere
def decisions(home: str | None, debug: bool) -> None:
    """List every decision on who is champion, the newest last, and why the last one was taken.

    \b
    Example:
      tidecast decisions
    """
    with one_line_errors(debug):
        out = console()
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.cli.show_models import show_decisions
        from tidecast.flows.workspace.workspace import Workspace

        show_decisions(out, Workspace(folder, settings).warehouse.decisions())


def by_hand(
    home: str | None, debug: bool, by: str | None, what: str, choose: Callable[["Promoter", str], dict[str, Any]]
) -> None:
    """Let a person choose the champion, while no run is at work."""
    with one_line_errors(debug):
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.config.state_folder import hold
        from tidecast.flows.steps.promote import Promoter
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, what):
            row = choose(Promoter.of(Workspace(folder, settings)), by or getpass.getuser())
        say_decided(row)


def say_decided(row: dict[str, Any]) -> None:
    """What was decided, in two lines."""
    name = str(row["winner"]).replace("_", " ")
    facts(console(), [("Decided", str(row["reason"])), ("Champion", f"{name}, version {row['version']}")])
