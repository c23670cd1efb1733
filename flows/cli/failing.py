"""How a command fails: one line on standard error and an exit code.

Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage, 75 another run holds the state folder.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

import click

from tidecast.flows.cli.terminal import console
from tidecast.flows.errors import Busy, SettingsError, TidecastError, is_panic
from tidecast.flows.os_errors import in_words
from tidecast.flows.redaction import redact

FAILED, WRONG_USAGE, INTERRUPTED, BUSY = 1, 2, 130, 75


@contextlib.contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Every failure as one line on standard error and an exit code; with `debug`, the traceback before it."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except KeyboardInterrupt:
        stop("Stopped. Nothing is half-written; the same command again goes on from there.", INTERRUPTED)
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        if debug:
            sys.stderr.write(redact(traceback.format_exc()))
        stop(one_line(error), exit_code(error))


def one_line(error: BaseException) -> str:
    """What happened, in one line."""
    text = redact(" ".join(str(error).split()))
    if isinstance(error, TidecastError | ValueError) and text:
        return text
    if isinstance(error, OSError) and error.errno is not None:
        return f"{in_words(error)}."
    return f"{type(error).__name__}: {text or 'no message'}. Run again with --debug to see where."


def exit_code(error: BaseException) -> int:
    """75 when another run holds the folder, 2 for settings that cannot be, else 1."""
    return BUSY if isinstance(error, Busy) else WRONG_USAGE if isinstance(error, SettingsError) else FAILED


def stop(message: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    console(stderr=True).print(f"tidecast: {message}")
    sys.exit(code)
