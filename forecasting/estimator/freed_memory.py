"""Return freed memory to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Return freed memory to the system; takes a few milliseconds.

    glibc keeps freed arrays of up to 32 MiB for later use. Between two phases of a fit whose arrays differ in size,
    that could exceed the panel itself.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
