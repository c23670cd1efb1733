"""Prices in: what a panel is, is remembered before it is stored, and a panel too short to forecast is refused."""

from datetime import date

import pytest

from flows.errors import WarehouseError
from flows.intake import take_in_prices
from flows.warehouse import Warehouse

TODAY = date(2030, 1, 1)


def test_a_source_whose_prices_are_stored_is_remembered_whatever_fails_then(sandbox, monkeypatch):
    def fail(*arguments):
        raise WarehouseError("the disk is full")

    monkeypatch.setattr(Warehouse, "store_quarantine", fail)
    with pytest.raises(WarehouseError, match="disk is full"):
        take_in_prices(sandbox.place, None, TODAY)
    assert sandbox.place.warehouse.prices().height == 3 * 130
    assert str(sandbox.source) in sandbox.place.home.panel_file.read_text()
