"""Panels and forecast tables from and to the forms of other libraries."""
