"""Rules that prices must keep, and the check of a delivery against them."""

from tidecast.flows.rules.price_rules import PriceRules

__all__ = ["PriceRules"]
