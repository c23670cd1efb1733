"""What is known ahead of its session: values with vintages, and events."""
