"""Causal features: panels in, panels out."""

from features.actions import action_factors, adjust
from features.calendar import Calendar, get_calendar, infer_calendar
from features.calendar_features import CalendarFeatures
from features.causality import assert_causal
from features.cross_section import MarketReturn, ReturnRank
from features.frames import like, to_polars
from features.liquidity import AmihudIlliquidity, RelativeVolume, VolumeZScore
from features.order import MAX_PAUSE, breaks
from features.panel import PanelSchema, check_panel
from features.panel_calendar import PanelCalendar
from features.price_features import PriceFeatures
from features.range_volatility import GarmanKlassVolatility, ParkinsonVolatility, YangZhangVolatility
from features.recognise import panel_from
from features.returns import LogReturn, Momentum
from features.rolling import Drawdown, EwmaVolatility, RollingMean, RollingRange, RollingVolatility, RollingZScore
from features.shown_actions import shown_actions
from features.tail import Stream
from features.transformer import PanelTransformer
from features.union import PanelUnion
from features.volatility import DECAY, with_volatility
from features.windows import WindowArray, Windows, make_windows

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
    "Stream",
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
    "with_volatility",
]
