"""Commands for the models: train, tune, backtest, and choose the champion by hand."""

import getpass
import shlex
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tidecast.features.error_text import meant
from tidecast.flows.cli.answer import Answer, json_option
from tidecast.flows.cli.completion import versions
from tidecast.flows.cli.failing import one_line_errors
from tidecast.flows.cli.help import Command
from tidecast.flows.cli.options import Day, decided_by, everywhere, existing_panel, writable_table
from tidecast.flows.cli.terminal import facts, progress
from tidecast.flows.config.state_folder import StateFolder, hold
from tidecast.flows.reporting.model_names import readable

if TYPE_CHECKING:
    from tidecast.flows.steps.promote import Promoter  # torch and MLflow take seconds


class ModelName(click.ParamType):
    """A model that a backtest can score: a network by its cell's name, a benchmark or the average, in any case."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        by_lower = {name.lower(): name for name in self._names()}
        if str(value).lower() not in by_lower:
            known = list(by_lower.values())
            self.fail(f"a model must be one of {', '.join(known)}, got {value!r}.{meant(value, known)}", param, ctx)
        return by_lower[str(value).lower()]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "NAME"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self._names() if name.lower().startswith(incomplete.lower())]

    @staticmethod
    def _names() -> tuple[str, ...]:
        from tidecast.flows.config.settings import (  # takes a second, and `tidecast --help` need not wait for it
            DRIFT,
            MODELS,
        )

        return (*MODELS, DRIFT)


@click.command(cls=Command, short_help="Train now; the gate decides who is champion.")
@click.option("--as-of", type=Day(), metavar="DATE", help="Use no later row.  [default: the newest session]")
@click.option("--anew", is_flag=True, help="The champion's model is lost: train its recipe again. Decisions stay.")
@json_option
@everywhere
def train(home: str | None, debug: bool, as_json: bool, as_of: date | None, anew: bool) -> None:
    """Train on the stored prices; the rules of the gate decide which version is champion.

    A new recipe is tested if the last test was at least gate.every sessions ago. Otherwise the champion's recipe is
    refit on all rows.

    Reads the stored prices. Writes the table decisions, and models and runs in MLflow.

    \b
    Example:
      tidecast train
      tidecast train --as-of 2026-05-29
    """
    with one_line_errors(debug, as_json) as answer:
        out = answer.out
        folder, settings = existing_panel(home, debug, out)
        with progress(out):
            from tidecast.flows.steps.promote import Promoter, training_session  # torch and MLflow take seconds
            from tidecast.flows.workspace.workspace import Workspace

            with hold(folder, "tidecast train"):
                workspace = Workspace(folder, settings)
                session = training_session(workspace.warehouse, settings, as_of)
                row = Promoter.of(workspace).train(session, getpass.getuser(), anew=anew)
        print_decision(answer, folder, row)


@click.command(cls=Command, short_help="Search for better settings of the networks.")
@click.option("--trials", type=click.IntRange(min=1), default=50, metavar="N", help="Trials in all.  [default: 50]")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=60, metavar="N",
    help="Stop after N minutes.  [default: 60]",
)  # fmt: skip
@click.option("--as-of", type=Day(), metavar="DATE", help="Use prices known on this session.  [default: the newest]")
@json_option
@everywhere
def tune(home: str | None, debug: bool, as_json: bool, trials: int, minutes: float, as_of: date | None) -> None:
    """Search for better settings of the networks, on prices that are older than those a gate tests on.

    The best recipe is one more candidate of the next selection, and must pass the gate like any other. Each trial is
    shown in MLflow while it runs. A search that was stopped or killed continues with the same command. The daily
    forecast may run at the same time. The search uses n_jobs processes (TIDECAST_N_JOBS).

    Reads the stored prices. Writes the study in the folder tuning of the state folder, and runs in MLflow.

    \b
    Example:
      tidecast tune
      tidecast tune --trials 200 --minutes 600
    """
    with one_line_errors(debug, as_json) as answer:
        out = answer.out
        with progress(out):
            folder, settings = existing_panel(home, debug, out)
            from tidecast.flows.scheduling.launch import run_tuning  # polars and the sources take a second

            tuned = run_tuning(folder, settings, as_of, trials, 60 * minutes)
        from tidecast.flows.cli.answers import tuning_fields
        from tidecast.flows.tracking.tuning_record import best_of, counts_of  # torch takes seconds

        answer.give({"home": folder.path, **tuning_fields(tuned)})
        out.print()
        found = (
            f"{counts_of(tuned)}\n{best_of(tuned)}\nThe best of many trials looks better than it is; the gate decides."
        )
        facts(out, [("Tuning", found), ("Models", f"tidecast ui --home {shlex.quote(str(folder.path))}")])


@click.command(cls=Command, short_help="Score models against the random walk.")
@click.option("--model", "models", multiple=True, type=ModelName(),
              help="RNN, LSTM, GRU, MINGRU, volatility_regression, seasonal_regression, average or drift; may be "
                   "repeated.  "
                   "[default: those of the setting models, and drift]")  # fmt: skip
@click.option("--folds", type=click.IntRange(1, 50), default=2, show_default=True, help="Refits of each model.")
@click.option("--seeds", type=click.IntRange(1, 20), default=1, show_default=True,
              help="Seeds of each network; a line for each.")  # fmt: skip
@click.option(
    "--include-gate",
    is_flag=True,
    help="Also use the newest origins, on which the gate tests, in a table of their own.",
)
@click.option("--output", metavar="FILE", help="Also write the scores to this file, .csv or .parquet.")
@json_option
@everywhere
def backtest(
    home: str | None,
    debug: bool,
    as_json: bool,
    models: tuple[str, ...],
    folds: int,
    seeds: int,
    include_gate: bool,
    output: str | None,
) -> None:
    """Score models on the stored prices against the random walk, out of sample. No decision depends on it.

    The newest origins, on which the gate tests, are left out: a model chosen on them cannot be evaluated on them.

    Reads the stored prices. Writes nothing but the file of --output.

    \b
    Example:
      tidecast backtest
      tidecast backtest --model GRU --model drift --folds 4 --output scores.csv
      tidecast backtest --seeds 3 --folds 8 --include-gate
    """
    with one_line_errors(debug, as_json) as answer:
        target = writable_table(output)
        out = answer.out
        folder, settings = existing_panel(home, debug, out)
        with progress(out):
            from tidecast.flows.training.backtest_panel import backtest_panel  # torch takes seconds
            from tidecast.flows.workspace.workspace import Workspace

            warehouse = Workspace(folder, settings).warehouse
            found = backtest_panel(warehouse, settings, models, folds, include_gate, seeds)
        from tidecast.flows.cli.show import write_table  # polars takes half a second
        from tidecast.flows.cli.show_models import print_backtest  # torch takes seconds

        answer.give({"home": folder.path, "judged": found.judged, "compared": found.compared, "output": target})
        if not as_json:
            print_backtest(out, found)
        if target is not None:
            write_table(found.summary, target)
            facts(out, [("Output", str(target))])


@click.command(cls=Command, short_help="Make a version champion by hand.")
@click.argument("version", required=False, shell_complete=versions)
@click.option("--challenger", is_flag=True, help="The version with the alias challenger.")
@decided_by
@json_option
@everywhere
def promote(
    home: str | None, debug: bool, as_json: bool, by: str | None, why: str, version: str | None, challenger: bool
) -> None:
    """Make a version champion by hand, whatever the gate says. Your name and the reason are stored.

    Writes a row of the table decisions, and the alias champion in MLflow.

    \b
    Example:
      tidecast promote 3 --why "version 4 was trained on a wrong price"
      tidecast promote --challenger --why "its training was stopped"
    """
    if challenger == (version is not None):
        raise click.UsageError("Name a version, or --challenger. See what there is: tidecast decisions")

    by_hand(home, debug, as_json, by, "tidecast promote", lambda promoter, by: promoter.promote(version, by, why))


@click.command(cls=Command, short_help="Make the previous champion champion again.")
@decided_by
@json_option
@everywhere
def rollback(home: str | None, debug: bool, as_json: bool, by: str | None, why: str) -> None:
    """Make the previous champion champion again. Your name and the reason are stored.

    Writes a row of the table decisions, and the alias champion in MLflow.

    \b
    Example:
      tidecast rollback --why "the intervals of version 4 are too wide"
    """
    by_hand(home, debug, as_json, by, "tidecast rollback", lambda promoter, by: promoter.rollback(by, why))


@click.command(cls=Command, short_help="List all decisions on the champion.")
@json_option
@everywhere
def decisions(home: str | None, debug: bool, as_json: bool) -> None:
    """List all decisions on the champion, the newest last, and the reason of the last one.

    Reads the table decisions; writes nothing.

    \b
    Example:
      tidecast decisions
    """
    with one_line_errors(debug, as_json) as answer:
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.cli.answers import parsed
        from tidecast.flows.cli.show_models import show_decisions  # torch takes seconds
        from tidecast.flows.workspace.workspace import Workspace

        stored = Workspace(folder, settings).warehouse.decisions()
        answer.give({"home": folder.path, "decisions": [parsed(row) for row in stored.to_dicts()]})
        if not as_json:
            show_decisions(answer.out, stored)


def by_hand(
    home: str | None,
    debug: bool,
    as_json: bool,
    by: str | None,
    what: str,
    choose: Callable[["Promoter", str], dict[str, Any]],
) -> None:
    """Let a person choose the champion, while no run is at work.

    Parameters
    ----------
    home : str or None
        As ``--home``.
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    as_json : bool
        As ``--json``.
    by : str or None
        Who decides. None: the user's name.
    what : str
        What the command does. The message names it if another run holds the folder.
    choose : callable
        Called with the promoter and the name; returns the row of the decision.
    """
    with one_line_errors(debug, as_json) as answer:
        folder, settings = existing_panel(home, debug)
        from tidecast.flows.steps.promote import Promoter  # torch and MLflow take seconds
        from tidecast.flows.workspace.workspace import Workspace

        with hold(folder, what):
            row = choose(Promoter.of(Workspace(folder, settings)), by or getpass.getuser())
        print_decision(answer, folder, row)


def print_decision(answer: Answer, folder: StateFolder, row: dict[str, Any]) -> None:
    """Print the decision in two lines.

    Parameters
    ----------
    answer : Answer
        Where to print.
    folder : StateFolder
    row : dict
        Of `decisions`.
    """
    from tidecast.flows.cli.answers import parsed  # polars takes half a second

    answer.give({"home": folder.path, "decision": parsed(row)})
    name = readable(str(row["winner"]))
    facts(answer.out, [("Decided", str(row["reason"])), ("Champion", f"{name}, version {row['version']}")])
