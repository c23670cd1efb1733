"""Nested settings such as ``training__patience`` and ``schema__calendar``."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

from tidecast.features.frozen_settings import FrozenSettings


class HoldsFrozenSettings:
    """Mixin for an estimator whose `set_params` also sets fields of its frozen settings.

    Scikit-learn changes a nested object in place. A frozen one cannot be changed, and clones share it, so it is
    replaced by a copy. An argument that is None counts as the default object of its class.
    """

    frozen_settings: ClassVar[dict[str, type[FrozenSettings]]] = {}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including nested ones such as ``training__patience``.

        Parameters
        ----------
        **params
            Values by name; ``name__setting`` for one setting of an object.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            A name is unknown, or a settings object refuses a value; then nothing is set.
        """
        estimator = cast(Any, super())
        plain: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, _, setting = key.partition("__")
            if setting and name in self.frozen_settings:
                nested.setdefault(name, {})[setting] = value
            else:
                plain[key] = value
        changed = {}
        for name, settings in nested.items():
            before = plain.get(name, getattr(self, name))
            kind = self.frozen_settings[name]
            if before is not None and not isinstance(before, kind):
                raise TypeError(f"{name} must be a {kind.__name__} or None, got {type(before).__name__}.")
            changed[name] = (before or kind()).set_params(**settings)
        return cast(Self, estimator.set_params(**(plain | changed)))
