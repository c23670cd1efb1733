"""Callers inside scikit-learn: uses of a forecaster that cannot work are refused before anything is fitted.

Scikit-learn passes its estimators arrays and expects one prediction a row. A forecaster takes a panel and returns a
table of forecasts, so only pipelines and searches over `RollingOrigin` folds work. Neither the constructor nor the
arguments of `fit` show the caller, so it is read from the stack. A search asks for the estimator's tags before it fits,
outside the ``try`` that turns errors into NaN, so the user sees an error raised there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np

from tidecast.features.error_text import counted
from tidecast.features.frames import is_pandas

HARMLESS = (
    "sklearn.base",
    "sklearn.utils",
    "sklearn._config",
    "sklearn.pipeline",
    "sklearn.frozen",
    "sklearn.metrics",
    "sklearn.model_selection._search",
    "sklearn.model_selection._search_successive_halving",
    "sklearn.model_selection._split",
    "sklearn.model_selection._plot",
    "sklearn.model_selection._validation",
)
"""Modules that may call a forecaster; of the last one, the functions in `NOT_SUPPORTED` may not."""

NOT_SUPPORTED = {
    "cross_val_predict": "cross_val_predict",
    "_fit_and_predict": "cross_val_predict",
    "permutation_test_score": "permutation_test_score",
    "_permutation_test_score": "permutation_test_score",
    "_incremental_fit_estimator": "learning_curve with exploit_incremental_learning",
    "partial_dependence": "partial_dependence",
}
"""Functions that compare predictions row by row, and the public names of these uses."""

FITTING = {"fit", "fit_predict", "fit_transform", "partial_fit"}


def refuse_callers(model: Any, asked_for_tags: bool = False) -> None:
    """Refuse a call from a part of scikit-learn that a forecaster cannot work in.

    Parameters
    ----------
    model : forecaster
        The estimator that was called.
    asked_for_tags : bool, default=False
        Whether the call was for `__sklearn_tags__`. Those are also read to draw an estimator in a notebook, so only
        callers that fit are refused.

    Raises
    ------
    TypeError
        Within meta-estimators over arrays, such as `VotingRegressor`, and functions such as `cross_val_predict`.
    ValueError
        Within a search or a cross-validation whose folds or whose scoring cannot work.
    NotImplementedError
        Instead of both if a Pipeline asks for the tags, because it would ignore the other exceptions.
    """
    caller, in_pipeline = None, False
    for frame in _sklearn_frames():
        function, module = frame.f_code.co_name, frame.f_globals["__name__"]
        in_pipeline |= module == "sklearn.pipeline" and function == "__sklearn_tags__"
        if function == "_fit_and_score" and (problem := _search_problem(model, frame.f_locals)):
            raise NotImplementedError(problem) if in_pipeline else ValueError(problem)
        if function in NOT_SUPPORTED:
            caller = NOT_SUPPORTED[function]
        elif any(module == name or module.startswith(f"{name}.") for name in HARMLESS):
            continue
        elif not asked_for_tags or function in FITTING:  # the outermost is the one that the user called
            caller = type(frame.f_locals["self"]).__name__ if "self" in frame.f_locals else function.lstrip("_")
    if caller is not None:
        problem = _not_supported(model, caller)
        raise NotImplementedError(problem) if in_pipeline else TypeError(problem)


def _sklearn_frames() -> Iterator[FrameType]:
    """Stack frames of scikit-learn's own code, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("sklearn."):
            yield frame
        frame = frame.f_back


def _search_problem(model: Any, given: dict[str, Any]) -> str | None:
    """Return the fault of a search's folds or scoring; `given` are the variables of `_fit_and_score`."""
    name = type(model).__name__
    search = f"cv=RollingOrigin(horizon={getattr(model, 'horizon', 5)})"
    for scorer in _scorers(given["scorer"]):
        if hasattr(scorer, "_score_func"):
            return (
                f"A {name} must be scored by its own score, because predict returns a table of forecasts and not one "
                f"value a row; found scoring={scorer!r}. Leave scoring out and write {search}, or give a function "
                "scoring(model, panel, y=None)."
            )
    train, test = np.asarray(given["train"]), np.asarray(given["test"])
    if not np.isin(train, test).all() or len(test) <= len(train):
        return (
            f"A {name} must be tested on every row up to a fold's end, training rows included, because it forecasts "
            f"from history; found {counted(len(test), 'test row')} that leave out training rows or add none. Write "
            f"{search} "
            '(from forecasting import RollingOrigin); a halving search also needs resource="max_epochs" or another '
            "setting."
        )
    horizon, n_new = getattr(model, "horizon", 5), _new_sessions(given["X"], train, test)
    if n_new is not None and isinstance(horizon, int) and n_new < horizon:
        return (
            f"A {name} with horizon={horizon} must have {counted(horizon, 'session')} after the training rows to be "
            f"scored on, found {n_new}. Write {search}."
        )
    return None


def _new_sessions(panel: Any, train: np.ndarray, test: np.ndarray) -> int | None:
    """Count the times of the test rows after the newest training row; None without a column ``time``."""
    if "time" not in getattr(panel, "columns", ()):
        return None
    times = panel["time"]
    if is_pandas(panel):
        tested = times.iloc[test]
        return int(tested[tested > times.iloc[train].max()].nunique())
    return int(times.gather(test).filter(times.gather(test) > times.gather(train).max()).n_unique())


def _scorers(scorer: Any) -> list[Any]:
    """Return the scorers of `_fit_and_score`, which gets one or several."""
    several = scorer if isinstance(scorer, dict) else getattr(scorer, "_scorers", None)
    return list(several.values()) if isinstance(several, dict) else [scorer]


def _not_supported(model: Any, caller: str) -> str:
    name = type(model).__name__
    cell = name.removesuffix("Forecaster") if name.endswith("Forecaster") else "GRU"
    return (
        f"{caller} needs an estimator on arrays with one prediction a row, got {name}, which takes a panel and returns "
        f"a table of forecasts. Use backtest to compare or average forecasters, or {cell}Regressor on the arrays of "
        "make_windows."
    )
