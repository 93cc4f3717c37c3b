"""How many Wukong designs a second are counted and predicted, on one thread.

Designs are drawn from a lattice and handed over in chunks of 50,000, as the feasible set does it:
exact counts, peak memory, step times by the learned model of an H100, and all three predictions
with their intervals. N designs.

    python benchmarks/bench_cost.py
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

from codesign.contracts import HardwareSpec  # noqa: E402
from cost_models import exact  # noqa: E402
from cost_models.artifacts import cost_model  # noqa: E402
from cost_models.hardware import load_hardware  # noqa: E402
from cost_models.memory.peak import training_bytes  # noqa: E402
from cost_models.operations import wukong_ops  # noqa: E402
from cost_models.predict import Predictor  # noqa: E402
from cost_models.training import Training  # noqa: E402
from wukong.schema import CategoricalFeature, InputSchema  # noqa: E402

CHUNK = 50_000
REPEATS = 3
BATCH = np.array([8192.0])
SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=100_000) for i in range(26)),
    dense=tuple(f"x{i}" for i in range(13)),
)
LATTICE: dict[str, list[int]] = {
    "layers": [1, 2, 3, 4, 6, 8],
    "n_F": [8, 16, 24, 32, 48, 64, 96],
    "n_L": [8, 16, 24, 32, 48, 64, 96],
    "k": [8, 16, 24, 48, 96],
    "mlp_depth": [1, 2, 3],
    "mlp_width": [256, 512, 1024, 2048, 4096, 8192],
    "d": [16, 32, 64, 128, 160],
    "head_depth": [1, 2, 3],
    "head_width": [256, 1024, 4096],
}
MODEL = cost_model(load_hardware("h100-sxm"), "fp32")
PREDICTOR = Predictor.for_hardware(HardwareSpec(name="h100-sxm"))
Columns = dict[str, Any]


def chunks(count: int) -> Iterator[Columns]:
    rng = np.random.default_rng(0)
    for _ in range(count // CHUNK):
        yield {name: rng.choice(np.array(levels), CHUNK) for name, levels in LATTICE.items()}


def counts(columns: Columns) -> object:
    return exact.costs(columns, SCHEMA)


def peak_memory(columns: Columns) -> object:
    return training_bytes(columns, SCHEMA, batch=BATCH, training=Training())


def counts_and_memory(columns: Columns) -> object:
    return counts(columns), peak_memory(columns)


def step_time(columns: Columns) -> object:
    operations = wukong_ops.operations(columns, SCHEMA, batch=BATCH)
    operations += wukong_ops.optimizer_operations(columns, SCHEMA)
    return MODEL.seconds(operations, "step")


def all_predictions(columns: Columns) -> object:
    train = {"batch_size": BATCH, "table_optimizer": "adam", "table_backend": "plain"}
    both = {**columns, **train}
    return PREDICTOR.predict(both, both, SCHEMA, confidence=0.9)


def designs_per_s(run: Callable[[Columns], object], count: int) -> float:
    """Of the fastest repetition."""
    best_s = float("inf")
    for _ in range(REPEATS):
        pieces = list(chunks(count))
        started = time.perf_counter()
        for columns in pieces:
            run(columns)
        best_s = min(best_s, time.perf_counter() - started)
    return round(count / best_s, -3)


def first_asked_s() -> float:
    """Seconds that a fresh model takes to answer for every product of the lattice's designs."""
    model = cost_model(load_hardware("h100-sxm"), "fp32")
    spent_s = 0.0
    for columns in chunks(4 * CHUNK):
        operations = wukong_ops.operations(columns, SCHEMA, batch=BATCH)
        started = time.perf_counter()
        model.seconds(operations, "step")
        spent_s += time.perf_counter() - started
    return round(spent_s, 2)


def main() -> None:
    """Measure and write `benchmarks/results/cost.json`."""
    result = {
        "what": "Wukong designs a second, one thread, chunks of 50,000, best of three",
        "designs_per_s": {
            "counts": designs_per_s(counts, 1_000_000),
            "peak_memory": designs_per_s(peak_memory, 1_000_000),
            "counts_and_peak_memory": designs_per_s(counts_and_memory, 1_000_000),
            "step_time": designs_per_s(step_time, 200_000),
            "all_predictions_with_intervals": designs_per_s(all_predictions, 200_000),
        },
        "step_times_of_200000_designs_by_a_fresh_model_s": first_asked_s(),
        "machine": platform.machine(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "cost.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
