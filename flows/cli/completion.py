"""Completion in the shell: a script per shell, and names of the panel's own series, sessions and versions."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from tidecast.flows.cli.help import Command
from tidecast.flows.config.state_folder import StateFolder, find_state_folder

VARIABLE = "_TIDECAST_COMPLETE"
"""The environment variable by which a shell asks for completions; click derives it from the command's name."""

LINES = {
    "bash": "echo 'eval \"$(tidecast completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(tidecast completion zsh)\"' >> ~/.zshrc",
    "fish": "tidecast completion fish > ~/.config/fish/completions/tidecast.fish",
}

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command(cls=Command, short_help="Print a script that completes commands in your shell.")
@click.argument("shell", type=click.Choice(list(LINES)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script by which bash, zsh or fish completes commands, options, series, sessions and versions.

    Once per shell; then open a new one. Reads nothing, writes nothing.

    \b
    Examples:
      tidecast completion bash
      echo 'eval "$(tidecast completion bash)"' >> ~/.bashrc
      echo 'eval "$(tidecast completion zsh)"' >> ~/.zshrc
      tidecast completion fish | source
    """
    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    click.echo(found(context.find_root().command, {}, "tidecast", VARIABLE).source())


def of_the_panel(names: Callable[[StateFolder], Iterable[str]]) -> Complete:
    """Return a completion by names of the state folder in force; it offers nothing where they cannot be read.

    Parameters
    ----------
    names : callable
        From the state folder to the names.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            folder = find_state_folder(context.params.get("home"), os.environ, Path.cwd())
            found = [] if folder.created else list(names(folder))
        except Exception:  # whatever it is: a completion must not print into a line that is being typed
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]

    return complete


def _sessions(folder: StateFolder) -> list[str]:
    """Sessions that have a report, the newest first: a listing, without reading tables."""
    return sorted((path.stem for path in folder.reports.glob("????-??-??.html")), reverse=True)


def _series(folder: StateFolder) -> list[str]:
    """Series in the file of forecasts that was written last."""
    files = sorted(_files(folder, "forecasts"), key=lambda path: path.stat().st_mtime)
    return _names(files[-1:], "series_id")


def _versions(folder: StateFolder) -> list[str]:
    """Versions that decisions name."""
    return sorted(_names(_files(folder, "decisions"), "version"), key=lambda name: (len(name), name))


def _files(folder: StateFolder, table: str) -> list[Path]:
    return list((folder.path / "warehouse" / table).rglob("*.parquet"))


def _names(files: Iterable[Path], column: str) -> list[str]:
    """Values of a column in files of a table. The table's log is not read: a completion may offer an old name."""
    from pyarrow import parquet  # a tenth of a second; polars and Delta Lake take two

    values = {value for path in files for value in parquet.read_table(path, columns=[column])[column].to_pylist()}
    return sorted(value for value in values if value)


sessions, series, versions = map(of_the_panel, (_sessions, _series, _versions))
