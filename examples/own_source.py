"""Read prices from a source of your own: a class with a name and one method.

This one keeps prices in an SQLite file whose table is nobody's standard: prices in cents, dates as numbers. Prints how
many rows a daily run takes in from it, and the forecasts that it publishes.
"""
