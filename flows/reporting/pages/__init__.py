"""The report's pages: a page for each day, whatever the number of series, and an index of all days."""
