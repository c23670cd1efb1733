"""Frozen settings that scikit-learn can read and copy with changes."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self, cast

from tidecast.features.error_text import near_match, shorten


class FrozenSettings:
    """Parameters of a frozen dataclass, for `get_params`, `clone` and searches.

    A forecaster's `set_params` replaces such an object by a changed copy, so ``training__patience`` and
    ``schema__calendar`` work in a grid.

    Examples
    --------
    >>> from tidecast.features.panel import PanelSchema
    >>> PanelSchema(positive=False).set_params(calendar="TARGET")
    PanelSchema(positive=False, calendar='TARGET', covariates=(), future=(), static=(), origin_time=None)
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: settings hold no estimators.

        Returns
        -------
        dict
        """
        return {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}

    def set_params(self, **params: Any) -> Self:
        """Return a copy with these settings; this object is frozen and stays as it is.

        Parameters
        ----------
        **params
            Settings by name.

        Returns
        -------
        FrozenSettings
            Of the same class.

        Raises
        ------
        ValueError
            For an unknown name, and for a value that the class refuses.
        TypeError
            For a value of a type that the class refuses.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                near = near_match(name, known)
                advice = f"Did you mean {near!r}?" if near else f"Use one of {shorten(list(known), len(known))}."
                raise ValueError(f"{type(self).__name__} must have a setting of that name, got {name!r}. {advice}")
        return replace(cast(Any, self), **params)

    def __sklearn_clone__(self) -> Self:
        """Return this object itself, because it never changes."""
        return self
