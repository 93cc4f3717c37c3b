"""Draws measured products of a device against what fits to others of them predict.

Each product is predicted by a fit to the other four folds of a cross-validation, as
`cost_models.times.learned.fit` says; none by a fit that has seen it.

    python benchmarks/plot_products.py h100-sxm linear.csv bmm.csv --out docs/h100-products.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cost_models.calibrate.read import read_files
from cost_models.evaluation.scatter import scatter_svg
from cost_models.hardware import load_hardware
from cost_models.times.learned.fit import cross_validated
from cost_models.times.roofline import Roofline

NAMES = {"gemm": "linear maps", "bmm": "batched products"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device")
    parser.add_argument("files", type=Path, nargs="+", help="tables of operations, or profiles")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    hardware = load_hardware(given.device)
    products = read_files(given.files, hardware, given.precision).operations.products
    is_bmm, seconds = products.shapes.batched, products.seconds
    roofline = Roofline(hardware=hardware, precision=given.precision)
    ratio = np.exp(cross_validated(products, roofline).log_ratio)
    series = {
        name: (1e3 * seconds[chosen], 1e3 * (seconds / ratio)[chosen])
        for name, chosen in ((NAMES["gemm"], ~is_bmm), (NAMES["bmm"], is_bmm))
        if chosen.any()
    }
    title = (
        f"Products on {hardware.name}, {given.precision}: measured, and predicted by fits that "
        "have not seen them"
    )
    given.out.write_text(scatter_svg(series, title=title), encoding="utf-8")
    print(f"{given.out}: mean error {np.mean(np.abs(1 / ratio - 1)):.4f}, {len(ratio):,} products")


if __name__ == "__main__":
    main()
