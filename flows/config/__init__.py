"""How a panel is set up, and where it lives."""
