"""A study: its folder, its event store, the state folded from it, and the loop."""
