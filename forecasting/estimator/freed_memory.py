"""Freed memory, given back."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Return to the system what has been freed; a few milliseconds.

    glibc keeps freed arrays of up to 32 MiB for later ones, and its heap in pieces between them. Between two phases of
    a fit whose arrays differ in size, that would add up to more than the panel itself.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
