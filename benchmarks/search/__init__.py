"""Searches replayed on recorded runs: `python -m benchmarks.search`."""
