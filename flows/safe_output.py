"""Outputs of a process without secrets: what it prints and logs, and the errors of its flows and tasks."""

import contextlib
import functools
import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from tidecast.flows.redaction import redact

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class _Guarded(io.TextIOBase):
    """A text stream that removes secrets from what is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def close(self) -> None:
        """Leave the stream open: its owner closes it."""

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    @property
    def buffer(self) -> Any:
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        return str(self._stream.encoding)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors


@contextlib.contextmanager
def output() -> Iterator[None]:
    """Remove secrets from everything that is printed and logged while the block runs."""
    logs()
    with contextlib.redirect_stdout(_Guarded(sys.stdout)), contextlib.redirect_stderr(_Guarded(sys.stderr)):
        yield


def logs() -> None:
    """Remove secrets from every log record of this process, whichever library logs it."""
    make = logging.getLogRecordFactory()
    if not getattr(make, "without_secrets", False):
        logging.setLogRecordFactory(_factory(make))


def _factory(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def record_without_secrets(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        with contextlib.suppress(TypeError, ValueError, KeyError):  # wrong arguments: logging reports them
            said = record.getMessage()
            if (clean := redact(said)) != said:
                record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redact("".join(traceback.format_exception(record.exc_info[1]))).rstrip()
        return record

    record_without_secrets.without_secrets = True  # type: ignore[attr-defined]
    return record_without_secrets


def fails_cleanly(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Remove secrets from the error of a flow or task, which Prefect stores and logs. Goes below `flow`.

    Parameters
    ----------
    function : callable
        A flow or task, before Prefect's decorator.
    """

    @functools.wraps(function)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        logs()
        try:
            return function(*args, **kwargs)
        except Exception as error:
            clean = cleaned(error)
            if clean is error:
                raise
        raise clean  # outside of except, or Python would keep the original error as its context

    return guarded


def cleaned(error: BaseException) -> BaseException:
    """Return the error without secrets in it and in its causes; the same object where possible.

    Parameters
    ----------
    error : BaseException
    """
    for link in ("__cause__", "__context__"):
        before = getattr(error, link)
        if before is not None and (clean := cleaned(before)) is not before:
            suppressed = error.__suppress_context__
            setattr(error, link, clean)
            error.__suppress_context__ = suppressed
    if not _leaks(error):
        return error
    error.args = tuple(redact(part) if isinstance(part, str) else part for part in error.args)
    for name, value in vars(error).items():
        if isinstance(value, str):
            with contextlib.suppress(AttributeError):
                setattr(error, name, redact(value))
    if not _leaks(error):
        return error
    stand_in = RuntimeError(f"{type(error).__name__}: {redact(str(error))}")
    stand_in.__cause__, stand_in.__context__ = error.__cause__, error.__context__
    stand_in.__suppress_context__ = error.__suppress_context__
    return stand_in.with_traceback(error.__traceback__)


def _leaks(error: BaseException) -> bool:
    texts = [str(error), repr(error), *(value for value in vars(error).values() if isinstance(value, str))]
    return any(redact(text) != text for text in texts)
