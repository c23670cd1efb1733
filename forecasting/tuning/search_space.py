"""The search space of tuning: settings by name, and a forecaster with some of them changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FixedTrial
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline, make_pipeline

from tidecast.features import MarketReturn, PanelSchema, PriceFeatures, RelativeVolume, VolumeZScore
from tidecast.features.error_text import meant
from tidecast.forecasting.backtesting.fold_by_fold import SHARED, forecaster_of
from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.network.training import Training

Space = Mapping[str, Any] | Callable[[BaseTrial], Mapping[str, Any]]

CELL, HEAD, FEATURES, LOOKBACK = "cell", "head", "features", "lookback"
FIXED = {*SHARED, "device", "random_state"} - {LOOKBACK}
"""Settings that define the task: trials that differ in them could not be compared."""

PRICES = "prices"
MARKET, VOLUME = (f"{PRICES}, {extra}" for extra in ("market", "volume"))
EXTRA_FEATURES: dict[str, tuple[tuple[str, ...], Callable[[str, PanelSchema], list[BaseEstimator]]]] = {
    MARKET: ((), lambda target, schema: [MarketReturn(calendar=schema.calendar, target=target)]),
    VOLUME: (("volume",), lambda target, schema: [RelativeVolume(target=target), VolumeZScore(63, target=target)]),
}
"""Features besides `PriceFeatures`, chosen by name: the columns they need, and a function that builds them."""


class SearchSpace:
    """Settings to try for a model; called with a trial, it returns them by name.

    Parameters
    ----------
    model : forecaster, or Pipeline that ends in one
        Its own settings are the first to be tried.
    space : mapping, callable or None
        Optuna's distributions, or lists of choices, by the name of a setting as in `set_params`; a function of a trial
        that returns settings by name; None for `default_space`. Besides the settings of the model there are ``cell`` (a
        key of `CELLS`) and ``head`` (as in `Training`); `features` may be a name from `feature_choices`.
    panel : polars.DataFrame

    Attributes
    ----------
    own : dict
        The model's own values of the settings in the space.
    longest_lookback : int
        The largest in the space, so that all trials can be scored on the same rows.

    Raises
    ------
    TypeError, ValueError
        A name is not a setting of the model, or the model's own settings do not lie in the space.
    """

    def __init__(self, model: Any, space: Space | None, panel: pl.DataFrame) -> None:
        forecaster = forecaster_of(model)
        self.model, self.prefix = model, prefix_of(model)
        self.own = own_settings(model)
        self.longest_lookback: int = forecaster.lookback
        space = default_space(model, panel) if space is None else space
        self.space = space if callable(space) else self._checked(space)
        if not callable(self.space):
            self.own = {name: self.own[name] for name in self.space}
            self._check_own(self.space)
            if self.prefix + LOOKBACK in self.space:
                self.longest_lookback = max(self.longest_lookback, _largest(self.space[self.prefix + LOOKBACK]))

    def __call__(self, trial: BaseTrial) -> dict[str, Any]:
        """The settings of a trial, by name."""
        if callable(self.space):
            found = dict(self.space(trial))
            self._refuse_strangers(found)
            return found
        return {name: _suggest(trial, name, distribution) for name, distribution in self.space.items()}

    def configured(self, settings: Mapping[str, Any]) -> Any:
        """An unfitted copy of the model with other settings.

        Parameters
        ----------
        settings : mapping
            By name, as `tune` samples them.
        """
        return configured(self.model, settings)

    def _checked(self, space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The space with every choice as a distribution."""
        if not isinstance(space, Mapping):
            raise TypeError(
                "search_space must be a mapping from the name of a setting to an Optuna distribution or a list of "
                f"choices, or a function of a trial that returns settings, got {type(space).__name__}."
            )
        if not space:
            raise ValueError(
                f"search_space must not be empty, {type(forecaster_of(self.model)).__name__} has no settings to tune "
                "by default. Pass search_space."
            )
        self._refuse_strangers(space)
        found = {
            name: CategoricalDistribution(tuple(each)) if isinstance(each, list | tuple) and each else each
            for name, each in space.items()
        }
        for name, distribution in found.items():
            if not isinstance(distribution, BaseDistribution):
                raise TypeError(
                    f"search_space[{name!r}] must be an Optuna distribution such as IntDistribution(8, 64), or a list "
                    f"of choices, got {distribution!r}."
                )
        return found

    def _refuse_strangers(self, names: Mapping[str, Any]) -> None:
        """Refuse names that are not settings of the model, or that define the task."""
        known = {*self.model.get_params(), *self.own}
        for name in names:
            if name not in known:
                hint = meant(name, known)
                raise ValueError(f"search_space must name settings of the model, {name!r} is not one.{hint}")
            if name.rpartition("__")[2] in FIXED and name.startswith(self.prefix):
                raise ValueError(f"Trials must forecast the same to be compared, so {name!r} cannot be searched over.")

    def _check_own(self, space: Mapping[str, BaseDistribution]) -> None:
        """The model's own settings are the first trial, so they must lie in the space."""
        for name, distribution in space.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    _suggest(FixedTrial(self.own), name, distribution)
            except (ValueError, TypeError, UserWarning) as error:
                raise ValueError(
                    f"The model's own settings are the first trial and must lie in the search space; {name}="
                    f"{self.own[name]!r} is not in {distribution}. Widen it, or set the model's {name}."
                ) from error


def configured(model: Any, settings: Mapping[str, Any]) -> Any:
    """Return an unfitted copy of a model with other settings.

    Parameters
    ----------
    model : estimator
        Forecaster or Pipeline.
    settings : mapping
        By name, as `tune` samples them: also ``cell``, ``head`` and the name of `features`.
    """
    forecaster, prefix = forecaster_of(model), prefix_of(model)
    model, settings = clone(model), dict(settings)
    cell = settings.pop(prefix + CELL, None)
    if cell is not None and cell != forecaster.cell:
        other = FORECASTERS[cell](**clone(forecaster).get_params(deep=False))
        model = model.set_params(**{prefix[:-2]: other}) if prefix else other
    head = settings.pop(prefix + HEAD, None)
    own = getattr(forecaster, "training", None) or Training()
    if head is not None and head != forecaster.head:
        settings[f"{prefix}training"] = replace(settings.get(f"{prefix}training") or own, head=head)
    name = settings.get(prefix + FEATURES)
    if isinstance(name, str):
        settings[prefix + FEATURES] = features_named(name, forecaster)
    return model.set_params(**settings)


def prefix_of(model: Any) -> str:
    """Prefix of a forecaster's settings: empty, or the name of a Pipeline's last step and ``__``.

    Parameters
    ----------
    model : estimator
        Forecaster or Pipeline.
    """
    return f"{model.steps[-1][0]}__" if isinstance(model, Pipeline) else ""


def default_space(model: Any, panel: pl.DataFrame) -> dict[str, Any]:
    """The forecaster's own `search_space`, extended to its present settings; with default features, also others.

    Parameters
    ----------
    model : estimator
        Forecaster or Pipeline.
    panel : polars.DataFrame
        It decides which features can be tried.

    Returns
    -------
    dict
        Each setting's choices, or its lowest and highest value.
    """
    forecaster = forecaster_of(model)
    space, own = forecaster.search_space(), own_settings(forecaster)
    if _sees_prices(forecaster):
        space[FEATURES] = feature_choices(panel, forecaster.schema or PanelSchema())
    return {prefix_of(model) + name: _with(own[name], each) for name, each in space.items()}


def own_settings(model: Any) -> dict[str, Any]:
    """A model's settings, as far as a trial can hold them, with the names of its cell, head and features.

    Parameters
    ----------
    model : estimator
        Forecaster or Pipeline.
    """
    forecaster, prefix, simple = forecaster_of(model), prefix_of(model), (bool, int, float, str)
    found = {name: value for name, value in model.get_params().items() if value is None or isinstance(value, simple)}
    if hasattr(forecaster, CELL):
        found[prefix + CELL] = forecaster.cell
        found[prefix + HEAD] = forecaster.head
    if _sees_prices(forecaster):
        found[prefix + FEATURES] = PRICES
    return found


def _sees_prices(forecaster: Any) -> bool:
    """Whether it is a network with the default features, `PriceFeatures`, to which others can be added."""
    return hasattr(forecaster, CELL) and forecaster.features is None


def feature_choices(panel: pl.DataFrame, schema: PanelSchema) -> list[str]:
    """Names of the default features alone and with each extra kind that the panel has the columns and series for.

    Parameters
    ----------
    panel : polars.DataFrame
    schema : PanelSchema
        That of the forecaster.
    """
    market = schema.positive and panel["series_id"].n_unique() > 1
    extra = [name for name, (needed, _) in EXTRA_FEATURES.items() if set(needed) <= set(panel.columns)]
    return [PRICES, *(name for name in extra if market or name != MARKET)]


def features_named(name: str, forecaster: Any) -> Any:
    """Build the features of a name; None for the default.

    Parameters
    ----------
    name : str
        One of `feature_choices`.
    forecaster : estimator
        Its target and schema are used.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name == PRICES:
        return None
    if name not in EXTRA_FEATURES:
        known = [PRICES, *EXTRA_FEATURES]
        raise ValueError(f"features must be one of {', '.join(known)}, got {name!r}.{meant(name, known)}")
    schema = forecaster.schema or PanelSchema()
    extra = EXTRA_FEATURES[name][1](forecaster.target, schema)
    return make_pipeline(PriceFeatures(target=forecaster.target, positive=schema.positive), *extra)


def _suggest(trial: BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)  # there are these three
    suggest: Any = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _with(value: Any, each: Any) -> Any:
    """Extend a list of choices, or a range, to include `value`."""
    if isinstance(each, list):
        return each if value in each else sorted([*each, value])
    kind = type(each)
    return kind(min(each.low, value), max(each.high, value), log=each.log)


def _largest(distribution: Any) -> int:
    choices: Any = getattr(distribution, "choices", None)
    return int(max(choices) if choices else distribution.high)
