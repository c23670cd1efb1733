"""Actions on rows that break a rule: the default of each rule with its reason, and how settings change it.

No validation library is imported here, because the command line reads settings long before it reads prices.
"""

from collections.abc import Iterable, Mapping

from tidecast.features.error_text import meant, near_match
from tidecast.flows.errors import SettingsError

FAIL, QUARANTINE, FLAG, OFF = "fail", "quarantine", "flag", "off"
ACTIONS = (FAIL, QUARANTINE, FLAG, OFF)
"""Stop the run before anything is written; move the row to quarantine; store and flag it; do not check."""

UNUSABLE = (
    "no_series_id", "unreadable_time", "unreadable_known_at", "in_the_future", "not_a_session", "missing_price",
    "unreadable_price", "not_finite", "not_positive", "conflicting_duplicate", "duplicate",
)  # fmt: skip
"""Rules whose rows cannot be a price of the panel: their action cannot be "flag" or "off"."""

DEFAULT_ACTIONS: Mapping[str, str] = {
    **dict.fromkeys(UNUSABLE, QUARANTINE),
    "unit_error": QUARANTINE,  # a hundredth of the last price, with its digits: stored, it is a return of -99 %
    "unreadable_value": FLAG,  # the close may be right
    "ohlc_order": FLAG,  # the close, which is forecast, may be right
    "ohlc_unit": FLAG,  # likewise
    "jump": FLAG,  # crashes are real, and matter most
    "stale_quote": FLAG,  # a halted share has that price
    "missing_sessions": FLAG,  # there is no row to move
    "split_not_applied": FLAG,  # which side of the step is wrong depends on the feed's convention
    "dividend_unit": FLAG,  # the row's price is right; its dividend is not
    "dividend_repeated": FLAG,
    "adjusted_close": FLAG,  # no forecast uses the source's adjusted close
}
"""Rules of rows, in order: a row is reported under the first rule that it breaks."""

PANEL_ACTIONS: Mapping[str, str] = {"stale_series": FLAG, "stale_feed": FLAG}
"""Rules of the panel: they have no row that could go to quarantine."""

OWN_ACTION = FLAG
"""Default action of a rule that a user's schema adds."""


def actions_in_force(rules: Mapping[str, str], own: Iterable[str] = ()) -> dict[str, str]:
    """Return the action of every rule, those of a user's own schema last.

    Parameters
    ----------
    rules : mapping of str to str
        Rule to action, where that differs from the default: the setting `rules`.
    own : iterable of str
        Rules that the user's schema adds.

    Raises
    ------
    SettingsError
        A rule does not exist (the near match is named), or an action is not one that its rule can have.
    """
    actions = {**dict.fromkeys(own, OWN_ACTION), **DEFAULT_ACTIONS, **PANEL_ACTIONS}
    for name, action in rules.items():
        if name not in actions:
            near = near_match(name, actions)
            hint = f"Did you mean {near!r}?" if near else f"There are: {', '.join(actions)}."
            raise SettingsError(f"[tool.tidecast.rules] must have names of rules, got {name!r}. {hint}")
        actions[name] = check_action(name, action)
    return actions


def check_action(name: str, action: str) -> str:
    """Return the action if the rule can have it.

    Parameters
    ----------
    name : str
        Of the rule.
    action : str
        Of `ACTIONS`, or another text.

    Raises
    ------
    SettingsError
        It is not an action, or not one of this rule: rows of `UNUSABLE` cannot be stored, `PANEL_ACTIONS` have no row.
    """
    possible = [FAIL, QUARANTINE] if name in UNUSABLE else [FAIL, FLAG, OFF] if name in PANEL_ACTIONS else [*ACTIONS]
    if action not in possible:
        hint = meant(action, possible)
        raise SettingsError(f"The rule {name!r} must be one of {', '.join(possible)}, got {action!r}.{hint}")
    return action
