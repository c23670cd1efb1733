"""Forecasters: from a panel to a forecast table."""
