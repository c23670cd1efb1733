"""Tidecast: daily forecasts of price series, published only when they beat the random walk.

Every public name is here: ``from tidecast import GRUForecaster, PanelSchema, backtest, daily_forecast``. A name is
imported when it is first asked for, so ``import tidecast`` itself loads no library.

`tidecast.features`, `tidecast.forecasting` and `tidecast.flows` are the folders of the same names at the top of the
repository; here they are links (docs/decisions.md says why).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from tidecast.features import *  # noqa: F403
    from tidecast.flows import *  # noqa: F403
    from tidecast.forecasting import *  # noqa: F403

PACKAGES = ("features", "forecasting", "flows")
"""In the order in which a name is looked for: the lightest first."""


def __getattr__(name: str) -> Any:
    if name in PACKAGES:
        return import_module(f"tidecast.{name}")
    if name == "__all__":  # what ``from tidecast import *`` asks for
        return __dir__()
    if not name.startswith("_"):
        for package in PACKAGES:
            module = import_module(f"tidecast.{package}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'tidecast' has no attribute {name!r}")


def __dir__() -> list[str]:
    public = (name for package in PACKAGES for name in import_module(f"tidecast.{package}").__all__)
    return sorted({*PACKAGES, *public})
