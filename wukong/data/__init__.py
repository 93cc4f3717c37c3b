"""Data sets: preparation into memory-mapped columns, and batches from them."""
