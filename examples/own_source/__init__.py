"""A source of your own as a package that pip installs: json_lines_prices.py and pyproject.toml are all of it."""
