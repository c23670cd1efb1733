"""What a recurrent network remembers: tasks with a known lag, prices, truncated gradients and their exact rival."""
