"""Steps in prices that have the size of a told split or dividend: on its own row, on another one, or nowhere.

A feed tells of an action and has its prices in one of several ways: quoted as traded (a split of 2 halves the price on
its row), restated (the split is told and no price moves), or restated in part (the price moves on another row). The
prices themselves say which: each way gives every return another size, and a return of minus a half is some ten
thousand times as likely with a split of 2 as without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REACH = 25
"""Rows before and after an action among which its step is looked for: a source that is asked for its last 21 sessions
restates those and none before."""

BEFORE = 62
"""Returns before an action that its own volatility is estimated from."""

FEW = 10
"""With fewer moves than this before an action, those after it count, too."""

USUAL, WEIGHT = 0.02, 5
"""Standard deviation of a day's log return that is assumed beforehand, and the number of returns it counts for."""

NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

UNUSUAL = 3.7
"""Cost, as a log likelihood, of the other convention than the source's own: a price that is off by four sigmas."""

ELSEWHERE = 5.5
"""Cost of a step on another row: a return explains it if it misses the split by less than a quarter of its size."""


ANY_MOVE = 9.6
"""Loss beyond which a price moved by neither the action nor itself: one action in a hundred has another size than told,
any one within e⁴ of it. That is 19 standard deviations."""


@dataclass(frozen=True)
class Steps:
    """Where the prices show the actions.

    Parameters
    ----------
    told : numpy.ndarray of bool, shape (n_actions,)
        Whether the price moves on the action's own row, as told.
    action, row, power : numpy.ndarray of int64
        Steps elsewhere: the action, the row, and 1 where the price moves as for the action, -1 where it moves back.
    off_action, off : numpy.ndarray of int64
        The action and the rows near it that are on another basis than the row `REACH` after it, if not by the action;
        its own row, where the price moves by something else.
    """

    told: np.ndarray
    action: np.ndarray
    row: np.ndarray
    power: np.ndarray
    off_action: np.ndarray
    off: np.ndarray


def find_steps(
    prices: np.ndarray, starts: np.ndarray, days: np.ndarray, row: np.ndarray, size: np.ndarray, movable: np.ndarray,
    restated: bool = False,
) -> Steps:  # fmt: skip
    """Which of the actions the prices show, and on which row.

    Returns follow Student's t with three degrees of freedom, scaled by the series' own volatility (robust, of the
    `BEFORE` returns before the action, shrunk to `USUAL`) and the root of the days they took. An action is on its row,
    on none, or on another one; the likeliest path of bases over the rows around it is chosen (Viterbi 1967,
    doi:10.1109/TIT.1967.1054010), where a row on which nothing was told and a row on which nothing moved have a cost.

    Parameters
    ----------
    prices : numpy.ndarray of float64, shape (n_rows,)
        Sorted by series and time. A return to or from a price that is not above 0 shows nothing.
    starts : numpy.ndarray of int64
        Rows with which the series begin.
    days : numpy.ndarray of int64, shape (n_rows,)
        The rows' days, as numbers.
    row : numpy.ndarray of int64, shape (n_actions,)
        The first row without the right, for each action.
    size : numpy.ndarray of float64, shape (n_actions,)
        By how much the log price falls: the log of a split's ratio.
    movable : numpy.ndarray of bool, shape (n_actions,)
        Whether the step may be on another row (a split), or only on its own (a dividend).
    restated : bool, default=False
        Whether the source restates its prices by convention, so that a step is the exception.
    """
    series = np.searchsorted(starts, np.arange(len(prices)), side="right") - 1
    first, end = starts[series], np.append(starts[1:], len(prices))[series]
    returns, span = _returns(prices, first, days)
    scale = _volatility(returns / span, row, first, end)
    quoted = returns[row]
    told = _on_own_row(returns, span, row, size, scale, movable, restated)
    searched = np.flatnonzero(movable & np.isfinite(returns[row]))
    if not len(searched):
        nothing = np.zeros(0, np.int64)
        return Steps(told, nothing, nothing, nothing, nothing, nothing)
    at = row[searched]
    window = at[:, None] + np.arange(-REACH, REACH + 1)
    inside = (window > first[at][:, None]) & (window < end[at][:, None])
    present = (window >= first[at][:, None]) & (window < end[at][:, None])
    window = np.clip(window, 0, len(prices) - 1)
    near = np.where(inside, returns[window], np.nan)
    moves, gain = _likeliest(near, scale[searched][:, None] * span[window], size[searched], told[searched], restated)
    by_path = searched[(moves[:, REACH] == -1) & ~told[searched]]
    told[by_path] = True
    left = returns[row]
    left[by_path] += size[by_path]
    wrong = movable & told & (_loss(left, scale * span[row]) > ANY_MOVE)
    told &= ~(wrong & (np.abs(left) > np.abs(quoted) / 2))  # nearer to nothing than to what was told
    return _steps(told, np.flatnonzero(wrong & told), row, searched, window, present, moves, gain)


def _returns(prices: np.ndarray, first: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log returns, NaN where there is none, and the root of the working days they took, one at least."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(prices)
        returns = np.diff(logs, prepend=np.nan)
    returns[first] = np.nan
    returns[~np.isfinite(returns)] = np.nan
    apart = np.diff(days, prepend=days[:1])
    return returns, np.sqrt(np.maximum(1.0, (apart - 2) * 5 / 7))


def _volatility(moves: np.ndarray, row: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Robust standard deviation of a day's return at each action, shrunk to `USUAL`."""

    def sizes(offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
        window = rows[:, None] + offsets
        inside = (window > first[rows][:, None]) & (window < end[rows][:, None])
        found = np.abs(moves[np.clip(window, 0, len(moves) - 1)])
        return np.where(inside & (found > 0), found, np.nan)

    around = sizes(np.arange(-BEFORE, 0), row)
    short = np.flatnonzero(np.isfinite(around).sum(axis=1) < FEW)
    both = np.full((len(row), 2 * BEFORE), np.nan)
    both[:, :BEFORE] = around
    both[short, BEFORE:] = sizes(np.arange(1, BEFORE + 1), row[short])
    count = np.isfinite(both).sum(axis=1)
    usual = NORMAL * np.nanmedian(np.where(count[:, None] > 0, both, 0.0), axis=1)
    return np.sqrt((count * usual**2 + WEIGHT * USUAL**2) / (count + WEIGHT))


def _loss(returns: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Minus the log density of Student's t with three degrees of freedom, up to a constant; 0 where there is none."""
    return np.nan_to_num(2 * np.log1p((returns / scale) ** 2 / 3))


def _on_own_row(
    returns: np.ndarray, span: np.ndarray, row: np.ndarray, size: np.ndarray, scale: np.ndarray, movable: np.ndarray,
    restated: bool,
) -> np.ndarray:  # fmt: skip
    """Whether the price moves on the action's own row; what is so explained is taken out of `returns`, in place.

    Several actions of one row are asked in turn, splits before dividends: of a split that is told twice one is shown.
    """
    told = np.zeros(len(row), dtype=bool)
    order = np.lexsort((~movable, row))
    turn = np.arange(len(row)) - np.searchsorted(row[order], row[order])
    for number in range(int(turn.max(initial=-1)) + 1):
        asked = order[turn == number]
        at, fall = row[asked], size[asked]
        gain = _loss(returns[at], scale[asked] * span[at]) - _loss(returns[at] + fall, scale[asked] * span[at])
        least = np.full(len(asked), UNUSUAL) if restated else np.where(movable[asked], 0.0, -UNUSUAL)
        shown = (gain >= least) | ~np.isfinite(returns[at])
        told[asked] = shown
        returns[at[shown]] += fall[shown]
    return told


def _likeliest(
    returns: np.ndarray, scale: np.ndarray, size: np.ndarray, told: np.ndarray, restated: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest change of basis (-1, 0, 1) at each row around an action, and by how much it beats none.

    The last row's basis is 0. With an action that was found on its row the price does not make the same step again: a
    second fall is a fall. What else there is can be a stretch of rows on another basis, or, rarely, a step back.
    """
    n_actions, width = returns.shape
    states = np.array([-1, 0, 1])
    change = states[None, :] - states[:, None]  # from, to
    possible = np.where(np.abs(change) > 1, np.inf, 0.0)
    elsewhere = possible + np.where(change == 0, 0.0, ELSEWHERE)
    quoted, silent = (UNUSUAL, 0.0) if restated else (0.0, UNUSUAL)
    own = possible + np.select([change == -1, change == 1], [quoted, ELSEWHERE + silent], silent)
    cost = np.where(told[:, None], np.array([UNUSUAL, 0.0, np.inf]), np.zeros(3))
    came = np.zeros((n_actions, width, 3), dtype=np.int64)
    none = np.zeros(n_actions)
    for place in range(width):
        known = np.isfinite(returns[:, place])[:, None, None]
        true = returns[:, place, None, None] - change * size[:, None, None]
        dear = np.where(told[:, None, None], elsewhere, own) if place == REACH else elsewhere
        step = _loss(true, scale[:, place, None, None]) + dear
        step = np.where(known, step, np.where(change == 0, 0.0, np.inf))
        none += step[:, 1, 1]
        total = cost[:, :, None] + step
        came[:, place] = total.argmin(axis=1)
        cost = total.min(axis=1)
    state = np.full(n_actions, 1)
    moves = np.zeros((n_actions, width), dtype=np.int64)
    each = np.arange(n_actions)
    for place in range(width - 1, -1, -1):
        before = came[each, place, state]
        moves[:, place] = state - before
        state = before
    return moves, none - cost[:, 1]


def _steps(
    told: np.ndarray, wrong: np.ndarray, row: np.ndarray, searched: np.ndarray, window: np.ndarray, present: np.ndarray,
    moves: np.ndarray, gain: np.ndarray,
) -> Steps:  # fmt: skip
    """The moves as steps; of several actions that explain the same row, the one that gains most has it."""
    moves = moves.copy()
    moves[moves[:, REACH] == -1, REACH] = 0
    moving = np.flatnonzero((moves != 0).any(axis=1))
    used: set[int] = set()
    steps: list[tuple[int, int, int]] = []
    off = [(int(action), int(row[action])) for action in wrong]
    for number in moving[np.argsort(-gain[moving], kind="stable")]:
        places = np.flatnonzero(moves[number])
        rows = window[number, places].tolist()
        if used.intersection(rows):
            continue
        used.update(rows)
        action = int(searched[number])
        steps += [(action, at, -int(move)) for at, move in zip(rows, moves[number, places], strict=True)]
        basis = np.cumsum(moves[number]) - moves[number].sum()  # from the row on; 0 on the last one
        off += [(action, int(at)) for at in window[number][(basis != 0) & present[number]]]
    found = np.array(steps, dtype=np.int64).reshape(-1, 3)
    doubtful = np.array(off, dtype=np.int64).reshape(-1, 2)
    return Steps(told, found[:, 0], found[:, 1], found[:, 2], doubtful[:, 0], doubtful[:, 1])
