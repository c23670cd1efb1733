"""The pictures of the docs, each by one command, from data that comes with the checkout."""
