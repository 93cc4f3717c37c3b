"""Runs the jobs of a study somewhere; each executor is one module."""
