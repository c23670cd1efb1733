"""Causal features: panels in, panels out."""

from typing import TYPE_CHECKING, Any

from tidecast.lazy_names import import_name

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from tidecast.features.calendars.base import Calendar
    from tidecast.features.calendars.by_name import get_calendar
    from tidecast.features.calendars.infer import infer_calendar
    from tidecast.features.calendars.per_series import PanelCalendar
    from tidecast.features.causality import assert_causal
    from tidecast.features.corporate_actions.adjustment import action_factors, adjust
    from tidecast.features.corporate_actions.shown_actions import shown_actions
    from tidecast.features.foreign_frames import panel_from
    from tidecast.features.frames import like, to_polars
    from tidecast.features.known_ahead.events import with_events
    from tidecast.features.known_ahead.future_values import with_future
    from tidecast.features.panel import PanelSchema, check_panel
    from tidecast.features.segments import MAX_PAUSE, breaks
    from tidecast.features.transformers.base import PanelTransformer
    from tidecast.features.transformers.calendar_features import CalendarFeatures
    from tidecast.features.transformers.cross_section import MarketReturn, ReturnRank
    from tidecast.features.transformers.liquidity import AmihudIlliquidity, RelativeVolume, VolumeZScore
    from tidecast.features.transformers.price_features import PriceFeatures
    from tidecast.features.transformers.range_volatility import (
        GarmanKlassVolatility,
        ParkinsonVolatility,
        YangZhangVolatility,
    )
    from tidecast.features.transformers.returns import LogReturn, Momentum
    from tidecast.features.transformers.rolling import (
        Drawdown,
        EwmaVolatility,
        RollingMean,
        RollingRange,
        RollingVolatility,
        RollingZScore,
    )
    from tidecast.features.transformers.seasonal_features import SeasonalFeatures
    from tidecast.features.transformers.streaming import Stream
    from tidecast.features.transformers.union import PanelUnion
    from tidecast.features.transformers.volatility_terms import VolatilityTerms
    from tidecast.features.volatility import DECAY, with_volatility
    from tidecast.features.windows import WindowArray, Windows, make_windows

__all__ = [
    "DECAY",
    "MAX_PAUSE",
    "AmihudIlliquidity",
    "Calendar",
    "CalendarFeatures",
    "Drawdown",
    "EwmaVolatility",
    "GarmanKlassVolatility",
    "LogReturn",
    "MarketReturn",
    "Momentum",
    "PanelCalendar",
    "PanelSchema",
    "PanelTransformer",
    "PanelUnion",
    "ParkinsonVolatility",
    "PriceFeatures",
    "RelativeVolume",
    "ReturnRank",
    "RollingMean",
    "RollingRange",
    "RollingVolatility",
    "RollingZScore",
    "SeasonalFeatures",
    "Stream",
    "VolatilityTerms",
    "VolumeZScore",
    "WindowArray",
    "Windows",
    "YangZhangVolatility",
    "action_factors",
    "adjust",
    "assert_causal",
    "breaks",
    "check_panel",
    "get_calendar",
    "infer_calendar",
    "like",
    "make_windows",
    "panel_from",
    "shown_actions",
    "to_polars",
    "with_events",
    "with_future",
    "with_volatility",
]

_MODULES = {
    "calendars.base": ("Calendar",),
    "calendars.by_name": ("get_calendar",),
    "calendars.infer": ("infer_calendar",),
    "calendars.per_series": ("PanelCalendar",),
    "causality": ("assert_causal",),
    "corporate_actions.adjustment": ("action_factors", "adjust"),
    "corporate_actions.shown_actions": ("shown_actions",),
    "foreign_frames": ("panel_from",),
    "frames": ("like", "to_polars"),
    "known_ahead.events": ("with_events",),
    "known_ahead.future_values": ("with_future",),
    "panel": ("PanelSchema", "check_panel"),
    "segments": ("MAX_PAUSE", "breaks"),
    "transformers.base": ("PanelTransformer",),
    "transformers.calendar_features": ("CalendarFeatures",),
    "transformers.cross_section": ("MarketReturn", "ReturnRank"),
    "transformers.liquidity": ("AmihudIlliquidity", "RelativeVolume", "VolumeZScore"),
    "transformers.price_features": ("PriceFeatures",),
    "transformers.range_volatility": ("GarmanKlassVolatility", "ParkinsonVolatility", "YangZhangVolatility"),
    "transformers.returns": ("LogReturn", "Momentum"),
    "transformers.rolling": (
        "Drawdown",
        "EwmaVolatility",
        "RollingMean",
        "RollingRange",
        "RollingVolatility",
        "RollingZScore",
    ),
    "transformers.seasonal_features": ("SeasonalFeatures",),
    "transformers.streaming": ("Stream",),
    "transformers.union": ("PanelUnion",),
    "transformers.volatility_terms": ("VolatilityTerms",),
    "volatility": ("DECAY", "with_volatility"),
    "windows": ("WindowArray", "Windows", "make_windows"),
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: scikit-learn, which transformers need, takes a second to import."""
    return import_name("features", _MODULES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if __name__ == "features":  # imported by the folder's own name, from a checkout
    from tidecast.bare_names import use_bare_name

    use_bare_name(__name__)
