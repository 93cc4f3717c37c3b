"""Chooses how a given model is trained: devices, sharding, precision, batch, recomputation."""
