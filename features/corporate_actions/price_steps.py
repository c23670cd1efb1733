"""Steps in prices of the size of a reported split or dividend: on its own row, on another row, or nowhere.

A feed that reports an action has prices in one of three forms: quoted as traded (a split of 2 halves the price on its
row), restated (no price moves), or restated in part (the price moves on another row). The prices show which form it
is, because each gives the returns other sizes: a return of minus a half is some ten thousand times as likely with a
split of 2 as without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REACH = 25
"""Rows before and after an action that are searched for its step: a source whose last 21 sessions are fetched restates
those and none before."""

BEFORE = 62
"""Returns before an action that its volatility is estimated from."""

FEW = 10
"""With fewer moves before an action, those after it are used too."""

USUAL, WEIGHT = 0.02, 5
"""Prior standard deviation of a day's log return, and the number of returns that it counts for."""

NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

UNUSUAL = 3.7
"""Cost, as a log likelihood, of the convention that is not the source's own: a price that is off by four sigmas."""

ELSEWHERE = 5.5
"""Cost of a step on another row: a return explains it if it misses the split by less than a quarter of its size."""

ANY_MOVE = 9.6
"""Loss beyond which neither the action nor the market explains a move, 19 standard deviations: one action in a hundred
has another size than reported, anywhere within a factor of e⁴."""


@dataclass(frozen=True)
class Steps:
    """Rows on which the prices show actions.

    Attributes
    ----------
    on_own_row : numpy.ndarray of bool, shape (n_actions,)
        Whether the price moves on the action's own row, as reported.
    action, row, power : numpy.ndarray of int64, shape (n_steps,)
        Steps on other rows: the action, the row, and 1 if the price moves as for the action, -1 if it moves back.
    doubtful_action, doubtful_row : numpy.ndarray of int64, shape (n_doubtful,)
        The action and the rows near it on another basis than the row `REACH` after it, unless the action explains it;
        also the action's own row if the price moves there by something else.
    """

    on_own_row: np.ndarray
    action: np.ndarray
    row: np.ndarray
    power: np.ndarray
    doubtful_action: np.ndarray
    doubtful_row: np.ndarray


def find_steps(
    prices: np.ndarray, starts: np.ndarray, days: np.ndarray, row: np.ndarray, size: np.ndarray, movable: np.ndarray,
    restated: bool = False,
) -> Steps:  # fmt: skip
    """Return the actions that the prices show, and on which row.

    Returns follow Student's t with three degrees of freedom, scaled by the series' volatility (robust, of the `BEFORE`
    returns before the action, shrunk to `USUAL`) and the root of the days they took. An action is on its row, on
    another one, or on none. The likeliest path of bases over the rows around it is chosen (Viterbi 1967,
    doi:10.1109/TIT.1967.1054010); a step without a report and a report without a step have a cost.

    Parameters
    ----------
    prices : numpy.ndarray of float64, shape (n_rows,)
        Sorted by series and time. A return to or from a price that is not above 0 shows nothing.
    starts : numpy.ndarray of int64
        Rows at which the series begin.
    days : numpy.ndarray of int64, shape (n_rows,)
        The day of each row, as a number.
    row : numpy.ndarray of int64, shape (n_actions,)
        The first row without the right, for each action.
    size : numpy.ndarray of float64, shape (n_actions,)
        Fall of the log price: the log of a split's ratio.
    movable : numpy.ndarray of bool, shape (n_actions,)
        Whether the step may be on another row (a split), or only on its own (a dividend).
    restated : bool, default=False
        Whether the source restates its prices by convention, so that a step is the exception.

    Returns
    -------
    Steps
    """
    series = np.searchsorted(starts, np.arange(len(prices)), side="right") - 1
    first, end = starts[series], np.append(starts[1:], len(prices))[series]
    returns, span = _returns(prices, first, days)
    scale = _volatility(returns / span, row, first, end)
    quoted = returns[row]
    on_own_row = _on_own_row(returns, span, row, size, scale, movable, restated)
    searched = np.flatnonzero(movable & np.isfinite(returns[row]))
    if not len(searched):
        empty = np.zeros(0, np.int64)
        return Steps(on_own_row, empty, empty, empty, empty, empty)
    at = row[searched]
    window = at[:, None] + np.arange(-REACH, REACH + 1)
    inside = (window > first[at][:, None]) & (window < end[at][:, None])
    present = (window >= first[at][:, None]) & (window < end[at][:, None])
    window = np.clip(window, 0, len(prices) - 1)
    near = np.where(inside, returns[window], np.nan)
    moves, gain = _likeliest(
        near, scale[searched][:, None] * span[window], size[searched], on_own_row[searched], restated
    )
    by_path = searched[(moves[:, REACH] == -1) & ~on_own_row[searched]]
    on_own_row[by_path] = True
    left = returns[row]
    left[by_path] += size[by_path]
    wrong = movable & on_own_row & (_loss(left, scale * span[row]) > ANY_MOVE)
    on_own_row &= ~(wrong & (np.abs(left) > np.abs(quoted) / 2))  # nearer to no step than to the reported one
    return _steps(on_own_row, np.flatnonzero(wrong & on_own_row), row, searched, window, present, moves, gain)


def _returns(prices: np.ndarray, first: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log returns, NaN where there is none, and the root of the working days they took, at least one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(prices)
        returns = np.diff(logs, prepend=np.nan)
    returns[first] = np.nan
    returns[~np.isfinite(returns)] = np.nan
    apart = np.diff(days, prepend=days[:1])
    return returns, np.sqrt(np.maximum(1.0, (apart - 2) * 5 / 7))


def _volatility(moves: np.ndarray, row: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the robust standard deviation of a day's return at each action, shrunk to `USUAL`."""

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
    """Return minus the log density of Student's t with three degrees of freedom, up to a constant; 0 for NaN."""
    return np.nan_to_num(2 * np.log1p((returns / scale) ** 2 / 3))


def _on_own_row(
    returns: np.ndarray, span: np.ndarray, row: np.ndarray, size: np.ndarray, scale: np.ndarray, movable: np.ndarray,
    restated: bool,
) -> np.ndarray:  # fmt: skip
    """Whether the price moves on the action's own row; the explained part is taken out of `returns`, in place.

    Several actions of one row are tested in turn, splits before dividends: a split that is reported twice counts once.
    """
    on_own_row = np.zeros(len(row), dtype=bool)
    order = np.lexsort((~movable, row))
    turn = np.arange(len(row)) - np.searchsorted(row[order], row[order])
    for number in range(int(turn.max(initial=-1)) + 1):
        tested = order[turn == number]
        at, fall = row[tested], size[tested]
        gain = _loss(returns[at], scale[tested] * span[at]) - _loss(returns[at] + fall, scale[tested] * span[at])
        least = np.full(len(tested), UNUSUAL) if restated else np.where(movable[tested], 0.0, -UNUSUAL)
        shown = (gain >= least) | ~np.isfinite(returns[at])
        on_own_row[tested] = shown
        returns[at[shown]] += fall[shown]
    return on_own_row


def _likeliest(
    returns: np.ndarray, scale: np.ndarray, size: np.ndarray, on_own_row: np.ndarray, restated: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest change of basis (-1, 0, 1) at each row around an action, and its gain over no change.

    Both by Viterbi's algorithm over the bases -1, 0 and 1. The last row's basis is 0. After an action on its own row,
    the price does not make the same step again: a second fall is a fall. Otherwise a run of rows can be on another
    basis, or, rarely, a step can be taken back.
    """
    n_actions, width = returns.shape
    bases = np.array([-1, 0, 1])
    change = bases[None, :] - bases[:, None]  # from, to
    possible = np.where(np.abs(change) > 1, np.inf, 0.0)
    elsewhere = possible + np.where(change == 0, 0.0, ELSEWHERE)
    step_cost, no_step_cost = (UNUSUAL, 0.0) if restated else (0.0, UNUSUAL)
    own = possible + np.select([change == -1, change == 1], [step_cost, ELSEWHERE + no_step_cost], no_step_cost)
    cost = np.where(on_own_row[:, None], np.array([UNUSUAL, 0.0, np.inf]), np.zeros(3))
    best_from = np.zeros((n_actions, width, 3), dtype=np.int64)
    cost_without = np.zeros(n_actions)
    for column in range(width):
        has_return = np.isfinite(returns[:, column])[:, None, None]
        market = returns[:, column, None, None] - change * size[:, None, None]
        of_change = np.where(on_own_row[:, None, None], elsewhere, own) if column == REACH else elsewhere
        added = _loss(market, scale[:, column, None, None]) + of_change
        added = np.where(has_return, added, np.where(change == 0, 0.0, np.inf))
        cost_without += added[:, 1, 1]
        total = cost[:, :, None] + added
        best_from[:, column] = total.argmin(axis=1)
        cost = total.min(axis=1)
    basis = np.full(n_actions, 1)
    moves = np.zeros((n_actions, width), dtype=np.int64)
    each = np.arange(n_actions)
    for column in range(width - 1, -1, -1):
        before = best_from[each, column, basis]
        moves[:, column] = basis - before
        basis = before
    return moves, cost_without - cost[:, 1]


def _steps(
    on_own_row: np.ndarray, wrong: np.ndarray, row: np.ndarray, searched: np.ndarray, window: np.ndarray,
    present: np.ndarray, moves: np.ndarray, gain: np.ndarray,
) -> Steps:  # fmt: skip
    """Return the moves as steps; of several actions that explain the same row, the one that gains most counts."""
    moves = moves.copy()
    moves[moves[:, REACH] == -1, REACH] = 0
    moving = np.flatnonzero((moves != 0).any(axis=1))
    used: set[int] = set()
    steps: list[tuple[int, int, int]] = []
    doubtful = [(int(action), int(row[action])) for action in wrong]
    for number in moving[np.argsort(-gain[moving], kind="stable")]:
        columns = np.flatnonzero(moves[number])
        rows = window[number, columns].tolist()
        if used.intersection(rows):
            continue
        used.update(rows)
        action = int(searched[number])
        steps += [(action, at, -int(move)) for at, move in zip(rows, moves[number, columns], strict=True)]
        basis = np.cumsum(moves[number]) - moves[number].sum()  # from the row on; 0 on the last one
        doubtful += [(action, int(at)) for at in window[number][(basis != 0) & present[number]]]
    found = np.array(steps, dtype=np.int64).reshape(-1, 3)
    near = np.array(doubtful, dtype=np.int64).reshape(-1, 2)
    return Steps(on_own_row, found[:, 0], found[:, 1], found[:, 2], near[:, 0], near[:, 1])
