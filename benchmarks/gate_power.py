"""How often the gate's test promotes a model that is equal to the random walk, and one that is better.

python -m benchmarks.gate_power [--tables 1000]
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from tidecast.forecasting.evaluation.dm_test import compare
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

HORIZON, SERIES, YEAR = 5, 20, 252
NOISE = 0.015
"""Of each model, in units of the moves: the standard error on 504 origins is about that of rates and shares."""

LENGTHS = (252, 504, 1260)
"""Origins of a gate."""

GAINS = (0.0, 0.002, 0.003, 0.004, 0.006)
"""Shares of its loss by which the better model's is smaller."""


def mean_losses(rng: np.random.Generator, n_origins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean losses per origin of two models of equal accuracy, see `step_losses`."""
    one, other = (losses.mean(axis=1) for losses in step_losses(rng, n_origins))
    return one, other


def step_losses(rng: np.random.Generator, n_origins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses per origin and step of two models of equal accuracy: overlapping, wild and calm times, fat tails."""
    log_scale = np.zeros(n_origins + HORIZON)
    for t in range(1, len(log_scale)):
        log_scale[t] = 0.97 * log_scale[t - 1] + 0.15 * rng.normal()

    def paths() -> NDArray[np.float64]:
        shape = (n_origins + HORIZON, SERIES)
        shocks = rng.standard_t(4, size=(shape[0], 1)) + rng.standard_t(4, size=shape)  # series move together
        sums = np.cumsum(shocks * np.exp(log_scale)[:, None], axis=0)
        return np.stack([sums[HORIZON:] - sums[HORIZON - k : -k] for k in range(1, HORIZON + 1)], axis=-1)

    common = np.abs(paths())
    one, other = ((common + NOISE * paths()).mean(axis=1) for _ in range(2))
    return one, other


def promotes(loss: NDArray[np.float64], reference: NDArray[np.float64], level: float) -> bool:
    """Whether the test of the distribution passes; a promotion needs the gate's other checks, too."""
    p = compare(loss, reference, HORIZON).p
    return p is not None and p < level


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    n_tables = parser.parse_args().tables
    policy, longest = GatePolicy(), max(LENGTHS)
    rng = np.random.default_rng(2026)
    starts = range(0, YEAR + 1, policy.every)
    in_a_year = dict.fromkeys(LENGTHS, 0)
    at_once = {(length, gain): 0 for length in LENGTHS for gain in GAINS}
    errors = dict.fromkeys(LENGTHS, 0.0)
    for _ in range(n_tables):
        loss, reference = mean_losses(rng, longest + YEAR)
        for length in LENGTHS:
            windows = [slice(longest - length + start, longest + start) for start in starts]
            in_a_year[length] += any(promotes(loss[here], reference[here], policy.level) for here in windows)
            newest = slice(longest - length, longest)
            errors[length] += (compare(loss[newest], reference[newest], HORIZON).se or 0.0) / n_tables
            for gain in GAINS:
                at_once[length, gain] += promotes((1 - gain) * loss[newest], reference[newest], policy.level)
    better = " | ".join(f"{100 * gain:.1f} % better" for gain in GAINS[1:])
    print(f"| origins | mean standard error | equal, {len(starts)} gates in a year | equal, one gate | {better} |")
    print("|---" * (3 + len(GAINS)) + "|")
    for length in LENGTHS:
        shares = [in_a_year[length], *(at_once[length, gain] for gain in GAINS)]
        cells = " | ".join(f"{100 * share / n_tables:.1f} %" for share in shares)
        print(f"| {length:,} | {100 * errors[length]:.2f} % | {cells} |")


if __name__ == "__main__":
    main()
