"""Select, gate and refit: pure functions and values."""
