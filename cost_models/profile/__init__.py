"""Measures what a device takes for operations, lookups and training steps, and writes a CSV file.

Needs torch and NumPy only, and runs from a copied source tree:

    python -m cost_models.profile --out FILE.csv --minutes 20
"""
