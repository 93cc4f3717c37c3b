"""Wukong (arXiv 2403.02545): stacked factorization machines for large-scale recommendation."""
