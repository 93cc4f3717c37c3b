"""Declarative co-design of Wukong recommendation models: one YAML file to a Pareto front."""

__version__ = "0.1.0"
