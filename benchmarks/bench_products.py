"""How well times of matrix products are learned: errors on products that no fit has seen.

Cross-validation over several draws of folds, grouped by shape; the largest tenth by flop, predicted
by a fit to the rest; and a learning curve: the error of cross-validation with a share of the groups
alone. The roofline, fitted to the same rows, stands beside it. The measurements are no part of this
package: tables with the columns op, B, M, N, K, latency_ms, such as NeuSight's of an H100.

    python benchmarks/bench_products.py linear.csv bmm.csv
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import sklearn  # noqa: E402

from cost_models.calibrate.operations import fit_kind  # noqa: E402
from cost_models.calibrate.read import read_files  # noqa: E402
from cost_models.exact import Array  # noqa: E402
from cost_models.hardware import load_hardware  # noqa: E402
from cost_models.times.learned.fit import (  # noqa: E402
    FOLDS,
    Products,
    cross_validated,
    fit,
    shape_folds,
)
from cost_models.times.roofline import Roofline  # noqa: E402

SEEDS = (1, 2)  # besides draw 0
SHARES = (0.25, 0.5)
H100 = load_hardware("h100-sxm")
ROOFLINE = Roofline(hardware=H100, precision="fp32")


def errors(log_ratio: Array) -> dict[str, float]:
    """Mean, median and ninth decile of relative errors, in percent."""
    relative = 100 * np.abs(np.exp(-log_ratio) - 1)
    decile = np.quantile(relative, 0.9)
    found = {"mean": relative.mean(), "median": np.median(relative), "p90": decile}
    return {name: round(float(value), 2) for name, value in found.items()}


def roofline(train: Products, rest: Products) -> Array:
    """log(measured / predicted) of the rest, by a utilisation and an overhead for each kind."""
    found = np.zeros(len(rest.seconds))
    for batched in (False, True):
        of, to = train.shapes.batched == batched, rest.shapes.batched == batched
        if to.any():
            fitted = fit_kind(_floor_s(train)[of], train.seconds[of])
            predicted_s = _floor_s(rest)[to] / fitted.utilisation + fitted.overhead_s
            found[to] = np.log(rest.seconds[to] / predicted_s)
    return found


def _floor_s(products: Products) -> Array:
    return ROOFLINE.floor_s(products.shapes.flop, products.shapes.bytes)


def cross_validation(products: Products, seed: int, log_ratio: Array) -> dict[str, Any]:
    """Errors of one draw of folds, of which the learned model's are given."""
    beside = np.zeros(len(products.seconds))
    fold = shape_folds(products.shapes, seed=seed)
    for number in range(FOLDS):
        held_out = fold == number
        beside[held_out] = roofline(products[~held_out], products[held_out])
    batched = products.shapes.batched
    found = {
        "seed": seed,
        "learned": errors(log_ratio),
        "gemm": errors(log_ratio[~batched]),
        "bmm": errors(log_ratio[batched]),
        "roofline": errors(beside),
    }
    print(json.dumps(found), flush=True)
    return found


def curve(products: Products) -> list[dict[str, Any]]:
    """Errors of cross-validation where only a share of the shapes was measured."""
    found = []
    groups = shape_folds(products.shapes, seed=1, count=20)
    for share in SHARES:
        known = products[groups < 20 * share]
        learned = cross_validated(known, ROOFLINE)
        found.append({"products": len(known.seconds), "learned": errors(learned.log_ratio)})
    return found


def measured(products: Products) -> dict[str, Any]:
    """All errors; those of the first draw of folds are the ones that the artifact states."""
    started = time.perf_counter()
    fitted = fit(products, H100, "fp32")
    fit_s = time.perf_counter() - started
    draws = [cross_validation(products, 0, fitted.seen.log_ratio)]
    for seed in SEEDS:
        found = cross_validated(products, ROOFLINE, seed=seed)
        draws.append(cross_validation(products, seed, found.log_ratio))
    large = products.shapes.flop >= np.quantile(products.shapes.flop, 0.9)
    within = {
        name: round(float(np.mean(np.abs(seen.log_ratio) <= 1.645 * fitted.sigma(seen))), 3)
        for name, seen in (("all", fitted.seen), ("largest", fitted.largest))
    }
    return {
        "cross_validation": draws,
        "largest_tenth_by_flop": {
            "learned": errors(fitted.largest.log_ratio),
            "roofline": errors(roofline(products[~large], products[large])),
        },
        "share_within_90_percent_intervals": within,
        "fit_s": round(fit_s, 1),
        "learning_curve": curve(products),
    }


def main() -> None:
    """Measure and write `benchmarks/results/products.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    files = parser.parse_args().files
    products = read_files(files, H100, "fp32").operations.products
    result = {
        "what": "relative errors in percent on products that no fit has seen",
        "products": len(products.seconds),
        **measured(products),
        "data": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "products.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
