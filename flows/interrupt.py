"""End a command soon after Ctrl-C or SIGTERM, whatever it is doing.

Python raises `KeyboardInterrupt` only between two of its own steps, so a long call of a library would hold it up for
minutes; and what unwinds may wait for workers and servers. A thread that the signal wakes ends the process after
`GRACE` seconds, as a kill would: every write is made so that a kill does no harm.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in a shell."""

GRACE = 1.0
"""Seconds that a command has to unwind after the signal."""

LAST_WORD = 0.3
"""Seconds that the last message may take then."""

NOTICED = 0.5
"""Seconds within which the thread has seen a signal."""

ENDINGS = (signal.SIGINT, signal.SIGTERM)

SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"
"""For a terminal whose line with a spinner is not cleared any more."""


class Ending:
    """The last message of a command that was interrupted, said once.

    Parameters
    ----------
    say : callable
        Prints the message.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say, self._lock, self._said = say, threading.Lock(), False

    def say(self) -> None:
        """Print the message, unless that was done. Wait a moment for another thread that is printing it."""
        if not self._lock.acquire(timeout=LAST_WORD):
            return
        try:
            if not self._said:
                self._said = True
                self._say()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            self._lock.release()

    def now(self) -> None:
        """Print the message, and end the process at once."""
        talk = threading.Thread(target=self._talk, daemon=True)  # a full pipe must not hold up the end
        talk.start()
        talk.join(LAST_WORD)
        os._exit(INTERRUPTED)

    def _talk(self) -> None:
        with suppress(Exception):
            if sys.stderr.isatty():
                sys.stderr.write(SHOW_CURSOR)
            self.say()


@contextmanager
def ends_soon(ending: Ending, grace: float = GRACE) -> Iterator[None]:
    """End the process `grace` seconds after a signal that arrives in the body; at once after a second one.

    Signals arrive in a program's main thread; in another one this does nothing.

    Parameters
    ----------
    ending : Ending
    grace : float, default=GRACE
        Seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waking, woken = socket.socketpair()
    woken.setblocking(False)
    before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signalled = threading.Event()
    arguments = (waking, ending, grace, signalled)
    threading.Thread(target=_watch, args=arguments, daemon=True, name="end-after-signal").start()
    try:
        yield
    except KeyboardInterrupt:
        signalled.wait(NOTICED)  # without a signal, somebody else raised it
        raise
    finally:
        if not signalled.is_set():
            signal.set_wakeup_fd(before)
            woken.close()


def _watch(waking: socket.socket, ending: Ending, grace: float, signalled: threading.Event) -> None:
    """Read the numbers of signals, until one ends the process or the sender is closed."""
    with waking:
        while not _is_ending(number := waking.recv(1)):
            if not number:
                return
        signalled.set()
        waking.settimeout(grace)
        with suppress(TimeoutError):
            while not _is_ending(waking.recv(1)):
                pass
        ending.now()


def _is_ending(number: bytes) -> bool:
    return bool(number) and number[0] in ENDINGS
