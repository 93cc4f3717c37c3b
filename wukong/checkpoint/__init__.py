"""Where a training run stands, written while it goes on, and taken up again."""
