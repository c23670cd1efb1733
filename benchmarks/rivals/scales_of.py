"""Volatilities by other models: ``scales_of.py FOLDER MODEL HORIZON``, with polars, arch and lightgbm installed.

FOLDER holds rows_1.parquet, rows_2.parquet, …, one for each refit (columns: benchmarks/rival_forecasts.py). A model
learns from rows with `learn`, and answers for every row with `scale_1`, …: the log of the volatility of the change to a
step, per session, ÷ the random walk's (`volatility`). Its median is the last price: `move_1`, … are 0.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl

FEWEST_CHANGES = 100
"""Changes to learn from that a GARCH needs."""

TREES, PATIENCE, HELD_OUT = 500, 30, 1 / 9
"""LightGBM stops when the newest ninth of its rows, a tenth of the training sessions, no longer gains."""

SETTINGS = {"objective": "regression", "learning_rate": 0.05, "num_threads": 1, "seed": 0, "verbosity": -1}


def garch(rows, horizon, o=0):
    """GARCH(1, 1) with Student's t for each series; its variances of the coming sessions, summed."""
    from arch import arch_model

    failures, answers = [], []
    for (series,), part in rows.group_by("series_id", maintain_order=True):
        known = part.drop_nulls("change")
        learned = known.filter("learn")["change"].to_numpy()
        scale = np.full((len(known), horizon), np.nan)
        try:
            if len(learned) < FEWEST_CHANGES:
                raise ValueError(f"{len(learned)} changes to learn from")
            if learned.std() == 0:
                raise ValueError("never moves")
            unit = 1 / learned.std()
            settings = {"mean": "Zero", "vol": "GARCH", "p": 1, "o": o, "q": 1, "dist": "t", "rescale": False}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = arch_model(unit * learned, **settings).fit(disp="off", show_warning=False)
                if fitted.convergence_flag:
                    raise ValueError(f"did not converge ({fitted.convergence_flag})")
                whole = arch_model(unit * known["change"].to_numpy(), **settings).fix(fitted.params)
                variance = whole.forecast(horizon=horizon, start=0, reindex=False).variance.to_numpy()
            steps = np.arange(1, horizon + 1)
            scale[-len(variance) :] = 0.5 * np.log(np.cumsum(variance, axis=1) / steps) - np.log(unit)
            scale -= np.log(known["volatility"].to_numpy())[:, None]
            moving = known["volatility"].to_numpy() > 0
            if not np.isfinite(scale[moving]).all():
                raise ValueError(f"{(~np.isfinite(scale[moving]).all(axis=1)).sum()} rows without a finite volatility")
        except Exception as error:  # whatever a fit ends with is counted and named
            failures.append((str(series), f"{type(error).__name__}: {error}"))
            scale[:] = 0.0
        scale[~np.isfinite(scale)] = 0.0
        answers.append(answered(known, scale))
    return pl.concat(answers), failures


def gjr(rows, horizon):
    """GARCH whose variance follows falls more than rises."""
    return garch(rows, horizon, o=1)


def har(rows, horizon):
    """Log variance of the coming sessions on those of the last day, week and month: pooled least squares."""
    sigma = np.log(rows["volatility"].to_numpy())
    past = rows.select(f"relative_volatility_{k}" for k in (1, 5, 22)).to_numpy() + sigma[:, None]
    inputs = np.column_stack([np.ones(len(rows)), past])
    usable, scale = np.isfinite(inputs).all(axis=1), np.full((len(rows), horizon), np.nan)
    for step in range(1, horizon + 1):
        target = rows[f"target_{step}"].to_numpy() + sigma
        learned = usable & np.isfinite(target)
        weights = np.linalg.lstsq(inputs[learned], target[learned], rcond=None)[0]
        scale[usable, step - 1] = inputs[usable] @ weights - sigma[usable]
    return answered(rows, scale), []


def lightgbm(rows, horizon):
    """Gradient-boosted trees of the same target on the terms of our regression."""
    import lightgbm as library

    own = ("series_id", "time", "close", "volatility", "change", "learn", "origin")
    names = [name for name in rows.columns if name not in own and not name.startswith("target_")]
    inputs, days = rows.select(names).to_numpy(), rows["time"].to_physical().to_numpy()
    usable, scale = np.isfinite(rows["volatility"].to_numpy()), np.full((len(rows), horizon), np.nan)
    usable &= np.isfinite(inputs).any(axis=1)
    for step in range(1, horizon + 1):
        target = rows[f"target_{step}"].to_numpy()
        learned = usable & np.isfinite(target)
        distinct = np.unique(days[learned])
        cut = distinct[-round(HELD_OUT * len(distinct))]
        newest = learned & (days >= cut)
        older = learned & (days < distinct[max(0, np.searchsorted(distinct, cut) - horizon)])
        train, held_out = (library.Dataset(inputs[at], target[at]) for at in (older, newest))
        stop = library.early_stopping(PATIENCE, verbose=False)
        model = library.train(SETTINGS, train, TREES, valid_sets=[held_out], callbacks=[stop])
        scale[usable, step - 1] = model.predict(inputs[usable])
    return answered(rows, scale), []


def answered(rows, scale, move=None):
    """The answer's table; null where a scale is not known."""
    columns = {f"scale_{k}": values for k, values in enumerate(scale.T, start=1)}
    moves = np.zeros_like(scale) if move is None else move
    columns |= {f"move_{k}": values for k, values in enumerate(moves.T, start=1)}
    return rows.select("series_id", "time").with_columns(
        pl.Series(name, values).fill_nan(None) for name, values in columns.items()
    )


def answer_with(models):
    """Main of a script: run one of the models on every fold of the folder, and write its answers, cost and failures."""
    folder, name, horizon = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    seconds, failures = 0.0, []
    for number, path in enumerate(sorted(folder.glob("rows_*.parquet")), start=1):
        rows = pl.read_parquet(path).with_columns(pl.selectors.float().fill_null(float("nan")))
        rows = rows.with_columns(pl.col("change").fill_nan(None))
        begun = time.process_time()
        answer, failed = models[name](rows, horizon)
        seconds += time.process_time() - begun
        answer.write_parquet(folder / f"{name}_{number}.parquet")
        failures += [(number, *each) for each in failed]
    (folder / f"{name}.json").write_text(json.dumps({"seconds": seconds, "failures": failures}))


if __name__ == "__main__":
    answer_with({"garch": garch, "gjr": gjr, "har": har, "lightgbm": lightgbm})
