"""The columns of PriceFeatures come from one table, in both forms."""

from datetime import date

import numpy as np
import polars as pl

from tidecast.features import PriceFeatures
from tidecast.features.transformers.price_definitions import PRICE_DEFINITIONS, RANGE_DEFINITIONS

DAYS = pl.date_range(date(2024, 1, 1), date(2024, 12, 31), eager=True)


def test_polars_and_numpy_give_the_defined_columns_alike():
    rng = np.random.default_rng(5)
    price = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(DAYS))))
    panel = pl.DataFrame({"series_id": "a", "time": DAYS, "close": price, "high": price * 1.01, "low": price * 0.99})
    whole = PriceFeatures().fit(panel)
    assert whole.added_ == [definition.name for definition in PRICE_DEFINITIONS + RANGE_DEFINITIONS]
    stream = whole.stream(panel[:-1])
    np.testing.assert_allclose(stream.push(panel[-1:])[0], whole.transform(panel).select(whole.added_).row(-1))


def test_a_defined_column_stays_within_its_bounds():
    still = pl.DataFrame({"series_id": "a", "time": DAYS[:40], "close": [1.0, 2.0] + [2.0] * 38})
    values = PriceFeatures().fit_transform(still)
    for definition in PRICE_DEFINITIONS:
        if definition.bounds:
            low, high = definition.bounds
            assert values[definition.name].drop_nulls().is_between(low, high).all()
    assert values["volatility_ratio_5"].min() == -3.0
