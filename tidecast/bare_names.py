"""The folders' own names, for code in a checkout: ``from forecasting import GRUForecaster``.

The modules are the same objects as under `tidecast`, so a class has one identity whichever name imported it. A wheel
installs `tidecast` alone and does not use this file.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _SameModules(MetaPathFinder, Loader):
    """Find ``forecasting.panel`` as ``tidecast.forecasting.panel``, in the packages passed to `use_bare_name`."""

    def __init__(self) -> None:
        self.packages: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.partition(".")[0] in self.packages else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"tidecast.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # the import system has put the bare name's there


_finder = _SameModules()


def use_bare_name(package: str) -> None:
    """Make `package` and all modules in it the modules of ``tidecast.<package>``."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.packages.add(package)
    sys.modules[package] = import_module(f"tidecast.{package}")
