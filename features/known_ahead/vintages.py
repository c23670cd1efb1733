"""Values by place and session, each with the instant from which it was known.

Axes: M rows of a table, P pairs of a place and a session, R instants, N queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Array = NDArray[np.float64]

ALWAYS = -(1 << 62)
"""Instant of what was always known."""

SPAN = 1 << 40
"""Sessions that a key has room for, more than any calendar numbers."""

FIRST = -(1 << 39)
"""The first session that a key has room for."""


@dataclass(frozen=True)
class Vintages:
    """Every value that a session ever had, by the instant from which it was known.

    Attributes
    ----------
    pairs_P : ndarray of shape (P,), int64
        Place and session in one number, rising.
    instants_R : ndarray of shape (R,), int64
        Microseconds since 1970, UTC, rising.
    keys_M : ndarray of shape (M,), int64
        Pair and instant in one number, rising.
    values_M : ndarray of shape (M,), float64
    """

    pairs_P: Whole
    instants_R: Whole
    keys_M: Whole
    values_M: Array

    @classmethod
    def of(cls, place_M: Whole, session_M: Whole, known_M: Whole, values_M: Array) -> Vintages:
        """Sort the rows of a table. Of rows with the same place, session and instant, the last counts.

        Parameters
        ----------
        place_M : ndarray of shape (M,)
            A series, or a group of them.
        session_M : ndarray of shape (M,)
            Session numbers.
        known_M : ndarray of shape (M,)
            Instants from which the values were known.
        values_M : ndarray of shape (M,)
        """
        pairs_P, pair_M = np.unique(pair_keys(place_M, session_M), return_inverse=True)
        instants_R, rank_M = np.unique(known_M, return_inverse=True)
        keys_M = pair_M * (len(instants_R) + 1) + rank_M + 1
        order = np.argsort(keys_M, kind="stable")
        last = np.append(np.diff(keys_M[order]) > 0, np.ones(min(len(order), 1), dtype=bool))
        order = order[last]
        return cls(pairs_P, instants_R, keys_M[order], values_M[order])

    def newest(self, place: Whole, session: Whole, instant: Whole) -> Array:
        """Return the newest value known at an instant, NaN where none was; arrays of any one shape.

        Parameters
        ----------
        place, session : ndarray of int64
        instant : ndarray of int64
            A value known at this very instant counts.
        """
        if not len(self.keys_M):
            return np.full(session.shape, np.nan)
        wanted = pair_keys(place, session)
        pair = np.searchsorted(self.pairs_P, wanted).clip(max=len(self.pairs_P) - 1)
        rank = np.searchsorted(self.instants_R, instant, side="right")
        begin = pair * (len(self.instants_R) + 1)
        row = np.searchsorted(self.keys_M, begin + rank, side="right") - 1
        found = (self.pairs_P[pair] == wanted) & (row >= 0) & (self.keys_M[row] > begin)
        return np.where(found, self.values_M[row], np.nan)

    def pairs(self) -> tuple[Whole, Whole]:
        """Return place and session of each pair that has a value, shape (P,)."""
        return self.pairs_P // SPAN, self.pairs_P % SPAN + FIRST

    def following(self, place: Whole, session: Whole) -> Whole:
        """Return the index of the first pair of `pairs` after these, in the order of places and sessions.

        Parameters
        ----------
        place, session : ndarray of int64, of any one shape
        """
        return np.searchsorted(self.pairs_P, pair_keys(place, session), side="right")


def pair_keys(place: Whole, session: Whole) -> Whole:
    """Return place and session as one number.

    Parameters
    ----------
    place, session : ndarray of int64, of any one shape
    """
    return place.astype(np.int64) * SPAN + (session.astype(np.int64) - FIRST)
