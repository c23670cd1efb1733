"""Shared by commands: types of options, the state folder, the settings in force."""

import os
import shlex
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidecast.flows.cli.terminal import facts
from tidecast.flows.config.state_folder import StateFolder, find_state_folder
from tidecast.flows.errors import TidecastError
from tidecast.flows.scheduling.prefect_env import enter

if TYPE_CHECKING:
    from rich.console import Console

    from tidecast.flows.config.settings import Settings

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
    """Add the options that every command has.

    Parameters
    ----------
    command : callable
    """
    where = click.option("--home", metavar="DIR", help="State folder. Default: the nearest .tidecast upwards, or here.")
    debug = click.option("--debug", is_flag=True, help="Show tracebacks and the logs of other libraries.")
    return where(debug(command))


def decided_by(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say who decided, and why.

    Parameters
    ----------
    command : callable
    """
    by = click.option("--by", metavar="NAME", help="Who decides.  [default: your user name]")
    return by(
        click.option("--why", required=True, metavar="TEXT", help="The reason; it is stored with your name.")(command)
    )


def settings_of(folder: StateFolder, flags: dict[str, Any], out: "Console | None" = None) -> "Settings":
    """Return the settings in force; print on `out` which source is used.

    Parameters
    ----------
    folder : StateFolder
    flags : dict
        Settings given on the command line, by name.
    out : Console, optional
        None: print nothing.

    Raises
    ------
    SettingsError
        As `load_settings`.
    """
    from tidecast.flows.config.settings import BUNDLED
    from tidecast.flows.workspace.load_settings import load_settings

    settings, origins = load_settings(folder, flags, os.environ, Path.cwd())
    if out is not None:
        bundled = {"ecb": "the bundled ECB euro reference rates", "eia": "the bundled EIA energy spot prices"}
        name = bundled[settings.source] if settings.source in BUNDLED else settings.source
        origin_texts = {
            "default": " (no --source was given)",
            "remembered": " (remembered)",
            "warehouse": " (remembered by the tables; panel.json was missing)",
        }
        why = origin_texts.get(origins["source"], "")
        facts(out, [("Source", name + why)])
    return settings


def enter_state_folder(folder: StateFolder, debug: bool) -> None:
    """Set the environment variables of Prefect and the log levels for this state folder.

    Parameters
    ----------
    folder : StateFolder
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    """
    enter(folder.prefect, os.environ, debug)


def existing_panel(home: str | None, debug: bool, out: "Console | None" = None) -> tuple[StateFolder, "Settings"]:
    """Return the state folder, which must exist, and its settings; the environment is set for it.

    Parameters
    ----------
    home : str or None
        As ``--home``.
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    out : Console, optional
        Where to print the source. None: print nothing.

    Raises
    ------
    TidecastError
        The state folder does not exist.
    """
    folder = find_state_folder(home, os.environ, Path.cwd())
    if folder.created:
        raise TidecastError(
            f"There must be a state folder to look at, found none at {folder.path}. Start with: tidecast run"
        )
    enter_state_folder(folder, debug)
    return folder, settings_of(folder, {}, out)


def panel_to_schedule(
    home: str | None, source: str | None, debug: bool, out: "Console"
) -> tuple[StateFolder, "Settings", dict[str, str]]:
    """Return the state folder of a panel that is there, or whose source is named; its settings and their origins.

    A folder is made for a panel with `source` only: a misspelt ``--home`` must not schedule something else.

    Parameters
    ----------
    home, source : str or None
        As ``--home`` and ``--source``.
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    out : Console
        Where to print folder and source.

    Raises
    ------
    TidecastError
        No panel is found.
    """
    from tidecast.flows.workspace.load_settings import load_settings

    folder = find_state_folder(home, os.environ, Path.cwd())
    missing = TidecastError(
        f"There must be a panel to schedule, found none in {folder.path}. Make its first forecasts with: tidecast run "
        f"--home {shlex.quote(str(folder.path))} --source URI. Or name its source: tidecast schedule --source URI (ecb "
        "for the bundled rates)"
    )
    if folder.created and source is None:
        raise missing
    settings, origins = load_settings(folder, {"source": source}, os.environ, Path.cwd())
    if origins["source"] == "default":
        raise missing
    facts(out, [("Home", f"{folder.path} ({'new' if folder.created else 'found'})"), ("Source", settings.source)])
    enter_state_folder(folder.make(), debug)
    return folder, settings, origins


def writable_table(output: str | None) -> Path | None:
    """Return the path to write a table to; refuse an impossible one before any work.

    Parameters
    ----------
    output : str or None
        As ``--output``.

    Raises
    ------
    click.BadParameter
        It does not end in a suffix of `TABLE_SUFFIXES`, its folder does not exist, or it is a folder.
    """
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
