"""Runs shown beside the study's own page, by readers of its folder in a process of their own."""
