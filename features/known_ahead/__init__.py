"""Values and events that are known ahead of their session."""
