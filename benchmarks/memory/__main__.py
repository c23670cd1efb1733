"""Measure how far back recurrent networks remember.

    python -m benchmarks.memory --minutes 10                    # the tasks; lines that the file has are not run again
    python -m benchmarks.memory --parts profile,stretches,speed # prices: ECB rates to the end of 2019
    python -m benchmarks.memory --tables                        # print the tables
    python -m benchmarks.memory --pictures docs/pictures        # draw the pictures

Parts: ``tasks`` (delayed recall and adding by lag), ``truncated`` (delayed recall with a truncated gradient),
``profile`` (influence by lag on prices), ``stretches`` (loss and time by length of a training stretch) and ``speed``
(GRU next to LSTM, whole fits and the cells alone). Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.memory.learning import BUILT, GATED, OPEN, train
from benchmarks.memory.pictures import draw_all
from benchmarks.memory.prices import profile, speed, speed_alone, stretch
from benchmarks.memory.report import tables
from benchmarks.memory.store import RESULTS, Key, Line, lines_of, measure
from benchmarks.memory.tasks import TASKS
from tidecast.forecasting.network.cell_registry import CELLS

LAGS = (10, 30, 100, 300, 1000)
STEPS = 400
FAILED = 0.15  # of the way from chance to a perfect score
CUT_LAG, CUTS, CUT_CELLS = 100, (8, 16, 32, 64, 102), ("mingru", "lstm")  # 102 rows are the whole sequence
STRETCHES = (8, 16, 32, 64, 128, 256)
PAIRS, WIDTHS = 15, (32, 64, 128)

Work = tuple[Key, Callable[[], Line]]


def on_tasks(path: Path, cells: list[str], lags: list[int], seeds: int, steps: int) -> Iterator[Work]:
    """Delayed recall and adding, by seed, lag and cell; a cell that failed at a lag is not run at longer ones."""
    for seed in range(seeds):
        for lag in sorted(lags):
            for task in TASKS.values():
                for start in (BUILT, OPEN):
                    for cell in [cell for cell in cells if start == BUILT or cell in GATED]:
                        key = {"part": "tasks", "task": task.key, "cell": cell, "start": start, "seed": seed,
                               "budget": steps}  # fmt: skip
                        if not failed_below(path, key, lag):
                            yield {**key, "lag": lag}, partial(_trained, task.key, cell, start, lag, seed, steps)


def failed_below(path: Path, key: Key, lag: int) -> bool:
    """Whether the cell stayed near chance at a shorter lag.

    Parameters
    ----------
    path : Path
        Of the results.
    key : dict
        Without its lag.
    lag : int
    """
    chance = TASKS[key["task"]].chance
    scores = [line["score"] for line in lines_of(path, "tasks") if key.items() <= line.items() and line["lag"] < lag]
    return any(score < chance + FAILED * (1 - chance) for score in scores)


def with_truncated_gradients(seeds: int) -> Iterator[Work]:
    """Delayed recall over 100 rows, by the rows that the gradient reaches."""
    for seed in range(seeds):
        for cell in CUT_CELLS:
            for rows in CUTS:
                key = {"part": "truncated", "cell": cell, "lag": CUT_LAG, "rows": rows, "seed": seed, "budget": STEPS}
                yield key, partial(_trained, "recall", cell, OPEN, CUT_LAG, seed, STEPS, rows)


def on_prices(part: str, cells: list[str], seeds: int) -> Iterator[Work]:
    """The works of one part that needs prices."""
    if part == "profile":
        for seed in range(seeds):
            for cell in cells:
                yield {"part": part, "cell": cell, "seed": seed}, partial(profile, cell, seed)
    elif part == "stretches":
        for seed in range(seeds):
            for rows in STRETCHES:
                yield {"part": part, "rows": rows, "seed": seed}, partial(stretch, rows, seed)
    else:
        for pair in range(PAIRS):
            yield {"part": part, "pair": pair}, partial(speed, pair)
            for width in WIDTHS:
                yield {"part": "speed_alone", "width": width, "pair": pair}, partial(speed_alone, width, pair)


def _trained(task: str, cell: str, start: str, lag: int, seed: int, steps: int, rows: int | None = None) -> Line:
    return asdict(train(TASKS[task], cell, start, lag, seed, steps, rows, early=rows is None))


def works_of(
    path: Path, part: str, cells: list[str], lags: list[int], seeds: int, steps: int = STEPS
) -> Iterator[Work]:
    """The works of a part, in the order in which they are run.

    Parameters
    ----------
    path : Path
        Of the results so far.
    part : str
    cells : list of str
    lags : list of int
    seeds : int
    steps : int, default=400
        Most updates of a training of ``tasks``.
    """
    if part == "tasks":
        return on_tasks(path, cells, lags, seeds, steps)
    if part == "truncated":
        return with_truncated_gradients(seeds)
    return on_prices(part, cells, seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="start nothing after these")
    parser.add_argument("--parts", default="tasks,truncated")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--lags", default=",".join(map(str, LAGS)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="updates of a training at most, in the part `tasks`")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.tables:
        print(tables(options.results))
    elif options.pictures:
        draw_all(options.results, options.pictures)
    else:
        cells, lags = options.cells.split(","), [int(lag) for lag in options.lags.split(",")]
        works = (
            work
            for part in options.parts.split(",")
            for work in works_of(options.results, part, cells, lags, options.seeds, options.steps)
        )
        written, left = measure(options.results, works, options.minutes)
        print(f"{written} measured, {left} left.")


if __name__ == "__main__":
    main()
