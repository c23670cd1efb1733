"""From files and text to a long table."""
