"""How many windows an epoch must visit, on the years before the test years.

python -m benchmarks.window_budget DATA [--panel "US shares, 30 years"] [--cell GRU] [--seeds 3] [--refits 1]
python -m benchmarks.window_budget DATA --panel "made-up shares" --series 800 --origins 252 --refits 1
"""

from __future__ import annotations

from benchmarks.variants import main
from tidecast.forecasting import Training

BUDGETS = (1024, 2048, 4096, 8192, 16384)
ALL = 1 << 30

if __name__ == "__main__":
    budgets = {f"{budget:,}": Training(windows_per_epoch=budget) for budget in BUDGETS}
    main(__doc__, lambda: budgets | {"all": Training(windows_per_epoch=ALL)}, "all", "windows an epoch")
