"""What Prefect's pages show of a run: its name, its result, its parameters; and runs that were killed."""
