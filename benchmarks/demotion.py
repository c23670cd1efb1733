"""How often the rule of demotion replaces a champion as good as the random walk, and how soon a worse one.

python -m benchmarks.demotion [--tables 1000]
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_power import HORIZON, YEAR, step_losses
from tidecast.flows.watch.demotion import FEWEST, LENGTH, LEVEL, stake

YEARS = 3
WORSE = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the loss by which the champion's is larger."""


def sessions_until(differences: NDArray[np.float64]) -> float:
    """Sessions until a champion loses its place; infinite if it does not.

    Parameters
    ----------
    differences : ndarray of shape (n_days, horizon)
    """
    for begin in range(0, len(differences), LENGTH):
        above = np.flatnonzero(stake(differences[begin : begin + LENGTH]) >= 1 / LEVEL)
        if len(above):
            return float(begin + max(above[0] + 1, FEWEST))
    return np.inf


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    n_tables = parser.parse_args().tables
    rng = np.random.default_rng(2026)
    delays: dict[float, list[float]] = {worse: [] for worse in WORSE}
    for _ in range(n_tables):
        loss, reference = step_losses(rng, YEARS * YEAR)
        for worse in WORSE:
            delays[worse].append(sessions_until((1 + worse) * loss - reference))
    print("| champion's CRPS | demoted in a year | in three years | median sessions until | nine of ten until |")
    print("|---|---|---|---|---|")
    for worse, found in delays.items():
        days = np.array(found)
        median, ninth = (_days(float(np.sort(days)[int(share * (len(days) - 1))])) for share in (0.5, 0.9))
        name = "equal" if worse == 0 else f"{100 * worse:.0f} % worse"
        shares = " | ".join(f"{100 * np.mean(days <= limit):.1f} %" for limit in (YEAR, YEARS * YEAR + HORIZON))
        print(f"| {name} | {shares} | {median} | {ninth} |")


def _days(number: float) -> str:
    return "more than three years" if np.isinf(number) else f"{number:.0f}"


if __name__ == "__main__":
    main()
