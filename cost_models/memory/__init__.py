"""What a training step holds in memory, part by part, on one rank of several."""
