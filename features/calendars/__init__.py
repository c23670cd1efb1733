"""Sessions of markets: days, bars and periods."""
