"""Let a command fail with one line on standard error and an exit code.

Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage, 3 incomplete (forecasts are published, but a step failed,
a quoted series has none, or values known ahead are missing), 75 busy (another run holds the state folder). Ctrl-C ends
with 130, as in a shell.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from typing import NoReturn

import click

from tidecast.features.error_text import ended
from tidecast.flows.cli.answer import Answer
from tidecast.flows.cli.terminal import console
from tidecast.flows.errors import Busy, Partial, SettingsError, TidecastError, is_panic
from tidecast.flows.interrupt import INTERRUPTED, Ending, ends_soon
from tidecast.flows.os_errors import message_of
from tidecast.flows.redaction import redact

FAILED, WRONG_USAGE, INCOMPLETE, BUSY = 1, 2, 3, 75

STOPPED = "Stopped. Nothing is half-written; run the same command again to continue."


@contextlib.contextmanager
def one_line_errors(debug: bool, as_json: bool = False, serves: bool = False) -> Iterator[Answer]:
    """Turn every failure of the body into one line and an exit code; with `debug`, print the traceback first.

    Gives the answer of the command, which is printed at the end of the body, however it ends, if JSON is wanted. After
    Ctrl-C or SIGTERM the process ends within two seconds.

    Parameters
    ----------
    debug : bool
        Whether to print tracebacks and the logs of other libraries.
    as_json : bool
        As ``--json``.
    serves : bool, default=False
        Whether the command runs until it is stopped: Ctrl-C is then its usual end, and it stops its children itself.
    """
    answer = Answer(as_json, command_name())
    ending = Ending(partial(_say_stopped, answer))
    try:
        with contextlib.nullcontext() if serves else ends_soon(ending):
            yield answer
    except (click.ClickException, click.exceptions.Exit):
        raise
    except SystemExit as end:
        answer.finish(int(end.code or 0))
        raise
    except KeyboardInterrupt:
        ending.say()
        sys.exit(INTERRUPTED)
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        if debug:
            sys.stderr.write(redact(traceback.format_exc()))
        answer.finish(exit_code(error), one_line(error))
        stop(one_line(error), exit_code(error))
    answer.finish()


def _say_stopped(answer: Answer) -> None:
    answer.finish(INTERRUPTED, STOPPED)
    console(stderr=True).print(f"tidecast: {STOPPED}")


def command_name() -> str:
    """Return the name of the command that runs, as it is typed after "tidecast"; empty outside of a command."""
    context = click.get_current_context(silent=True)
    return context.command_path.partition(" ")[2] if context is not None else ""


def one_line(error: BaseException) -> str:
    """Return the error as one line, without secrets.

    Parameters
    ----------
    error : BaseException
    """
    text = redact(" ".join(str(error).split()))
    if isinstance(error, TidecastError | ValueError) and text:
        return text
    if isinstance(error, OSError) and error.errno is not None:
        return f"{message_of(error)}."
    return f"{type(error).__name__}: {ended(text or 'no message')} Run again with --debug to see where."


def exit_code(error: BaseException) -> int:
    """Return 75 when another run holds the folder, 3 when forecasts are published, 2 for impossible settings, else 1.

    Parameters
    ----------
    error : BaseException
    """
    if isinstance(error, Busy):
        return BUSY
    if isinstance(error, Partial):
        return INCOMPLETE
    return WRONG_USAGE if isinstance(error, SettingsError) else FAILED


def stop(message: str, code: int) -> NoReturn:
    """Print one line on standard error, and exit.

    Parameters
    ----------
    message : str
        One sentence or more.
    code : int
        The exit code.
    """
    console(stderr=True).print(f"tidecast: {message}")
    sys.exit(code)
