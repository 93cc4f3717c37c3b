"""Predicted beside measured: tables of operations, ranking, a plot."""
