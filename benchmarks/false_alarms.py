"""How often the gate promotes a network where nothing can be forecast.

python -m benchmarks.false_alarms [--panels 40]
"""

from __future__ import annotations

import argparse

from flows.settings import Settings
from flows.train import RANDOM_WALK, train
from tests.conftest import make_random_walks


def main() -> None:
    """Print a line per panel, and the count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--panels", type=int, default=40)
    panels = parser.parse_args().panels
    settings, promoted = Settings(calendar="weekdays"), 0
    for seed in range(panels):
        panel = make_random_walks(n_series=6, n_rows=1800, seed=1000 + seed)
        training = train(panel, panel["time"].max(), settings, None, gate_due=True, say=lambda text: None)
        promoted += training.winner != RANDOM_WALK
        decision = training.decision
        print(
            f"panel {seed}: {training.winner}; candidate {decision.candidate}, "
            f"spread {100 * decision.spread_skill:+.2f} %, p = {decision.spread_p:.3f}, "
            f"centre {100 * decision.centre_skill:+.2f} %",
            flush=True,
        )
    print(f"{promoted} of {panels} panels promoted a network.")


if __name__ == "__main__":
    main()
