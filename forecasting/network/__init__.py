"""One recurrent network, and its training."""
