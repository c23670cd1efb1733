"""What happens to a row that breaks a rule: the default of each rule, why, and how a panel's settings change it.

No validation library is imported here: the command line reads settings long before it reads prices.
"""

from collections.abc import Iterable, Mapping

from tidecast.features.error_text import near_match
from tidecast.flows.errors import SettingsError

FAIL, QUARANTINE, FLAG, OFF = "fail", "quarantine", "flag", "off"
ACTIONS = (FAIL, QUARANTINE, FLAG, OFF)
"""Stop the run before anything is written; keep the row aside; store it and note it; do not look."""

UNUSABLE = (
    "no_series_id", "unreadable_time", "unreadable_known_at", "in_the_future", "not_a_session", "missing_price",
    "unreadable_price", "not_finite", "not_positive", "conflicting_duplicate", "duplicate",
)  # fmt: skip
"""Rows that cannot be a price of the panel, whatever one thinks of them: these rules cannot be flags, nor off."""

DEFAULT_ACTIONS: Mapping[str, str] = {
    **dict.fromkeys(UNUSABLE, QUARANTINE),
    "unit_error": QUARANTINE,  # no price moves to a hundredth and keeps its digits; stored, it is a return of -99 %
    "unreadable_value": FLAG,  # the close may well be right
    "ohlc_order": FLAG,  # the close, which is forecast, may well be right
    "ohlc_unit": FLAG,  # likewise
    "jump": FLAG,  # crashes are real, and the rows that matter most
    "stale_quote": FLAG,  # a halted share has that price
    "missing_sessions": FLAG,  # there is no row to keep aside
    "split_not_applied": FLAG,  # which side of the step is wrong depends on the feed's convention
    "dividend_unit": FLAG,  # the row's price is right; its dividend is not
    "dividend_repeated": FLAG,
    "adjusted_close": FLAG,  # no number of ours uses the source's adjusted close
}
"""Rules of rows, in the order in which a row is named after the first it breaks."""

PANEL_ACTIONS: Mapping[str, str] = {"stale_series": FLAG, "stale_feed": FLAG}
"""Rules of the panel: a row that did not come cannot be kept aside."""

OWN_ACTION = FLAG
"""Of a rule that a user's schema adds, until the settings say more."""


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
            raise SettingsError(
                f"A rule's action must be that of a rule, got {name!r} in [tool.tidecast.rules]. {hint}"
            )
        actions[name] = check_action(name, action)
    return actions


def check_action(name: str, action: str) -> str:
    """The action, if the rule can have it.

    Raises
    ------
    SettingsError
        It is no action; or the rule is one that nothing may be stored against, or one of the panel, which has no row.
    """
    possible = [FAIL, QUARANTINE] if name in UNUSABLE else [FAIL, FLAG, OFF] if name in PANEL_ACTIONS else [*ACTIONS]
    if action not in possible:
        raise SettingsError(f"The rule {name!r} must be one of {', '.join(possible)}, got {action!r}.")
    return action
