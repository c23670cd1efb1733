"""Five published look-aheads, each re-enacted on a random walk, where no forecast of the price has skill."""
