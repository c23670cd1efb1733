"""Whether skew or tails, or all quantiles, gain over one scale a step, on the years before the test years.

python -m benchmarks.heads DATA [--panel "US shares, 88"] [--cell LSTM] [--seeds 3]
"""

from __future__ import annotations

from benchmarks.variants import main
from tidecast.forecasting import Training
from tidecast.forecasting.network.heads import HEADS, SCALE

if __name__ == "__main__":
    main(__doc__, lambda: {head: Training(head=head) for head in HEADS}, SCALE, "head")
