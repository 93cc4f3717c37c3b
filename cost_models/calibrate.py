"""Fit a device's roofline to measurements: `python -m cost_models.calibrate DEVICE FILE…`.

Files are profiles (`cost_models.profile.record`) or tables of products with the columns op, B, M,
N, K, latency_ms. Errors are those of 5-fold cross-validation: no row is predicted by a fit that
has seen it. The fit that is written has seen all rows; it lands in `cost_models/artifacts`.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.errors import CodesignError, ConfigError
from cost_models import memory, wukong_ops
from cost_models.exact import Array
from cost_models.hardware import ARTIFACTS, Precision, load_hardware
from cost_models.ops import OpColumns
from cost_models.profile.record import COLUMNS, Row, read
from cost_models.profile.spaces import StepDesign
from cost_models.roofline import KindFit, Roofline
from cost_models.totals import Spread, Total, TotalFit
from cost_models.training import FP32_BYTES, ID_BYTES

PRODUCT_COLUMNS = ["op", "B", "M", "N", "K", "latency_ms"]
FEWEST_ROWS = 8
_FOLDS = 5
_OVERHEADS_S = np.concatenate([[0.0], np.geomspace(1e-7, 1e-4, 61)])
_CONFIDENCE = 0.9
_Z = NormalDist().inv_cdf(_CONFIDENCE)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Operations of one kind, each field (R,): the roofline's seconds, and the measured ones."""

    floor_s: Array
    seconds: Array

    def __getitem__(self, rows: Array) -> Measured:
        return Measured(floor_s=self.floor_s[rows], seconds=self.seconds[rows])


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Whole steps, or forward passes, each field (R,).

    Attributes:
        operations_s: sum of what their operations take one by one.
        count: how many operations these are.
        seconds: measured.
    """

    operations_s: Array
    count: Array
    seconds: Array

    def __getitem__(self, rows: Array) -> Steps:
        return Steps(
            operations_s=self.operations_s[rows],
            count=self.count[rows],
            seconds=self.seconds[rows],
        )

    def ratio(self, overhead_s: float) -> Array:
        """Measured / predicted, (R,)."""
        return self.seconds / (self.operations_s + overhead_s * self.count)


def fit_kind(measured: Measured) -> KindFit:
    """Fit one kind: of a grid of overheads, the one that leaves the least spread."""

    def ratio(overhead_s: float) -> Array:
        return measured.seconds / (measured.floor_s + overhead_s)

    overhead_s = min(_OVERHEADS_S, key=lambda each_s: _log_sd(ratio(each_s)))
    spread = fit_spread(ratio(overhead_s))
    return KindFit(
        utilisation=1 / spread.factor,
        overhead_s=float(overhead_s) * spread.factor,
        sigma=spread.sigma,
        rows=spread.rows,
    )


def fit_spread(ratio: Array) -> Spread:
    """Fit the spread of measured / predicted, (R,); where its tails are heavy, that of these."""
    factor = float(np.median(ratio))
    logs = np.log(ratio / factor)
    tails = np.abs(np.quantile(logs, [1 - _CONFIDENCE, _CONFIDENCE])) / _Z
    sigma = float(max(np.sqrt(np.mean(logs**2)), *tails))
    return Spread(factor=factor, sigma=sigma, rows=len(ratio))


def fit_total(steps: Steps) -> TotalFit:
    """Fit whole steps: of a grid of overheads, the one that leaves the least spread."""
    overhead_s = min(_OVERHEADS_S, key=lambda each_s: _log_sd(steps.ratio(each_s)))
    return TotalFit(overhead_s=float(overhead_s), **asdict(fit_spread(steps.ratio(overhead_s))))


def calibrate(device: str, files: Sequence[Path], precision: Precision = "fp32") -> dict[str, Any]:
    """Fit one device's roofline; return the artifact's content.

    Raises:
        ConfigError: an unknown device, or a file that is no table of measurements.
    """
    empty = Roofline(hardware=load_hardware(device), precision=precision)
    found = [_read(path, precision) for path in files]
    measured = _by_kind(empty, [row for operations, _ in found for row in operations])
    kinds = {kind: fit_kind(rows) for kind, rows in measured.items()}
    fitted = dataclasses.replace(empty, kinds=kinds)
    steps = [row for _, rows in found for row in rows]
    if len(steps) < FEWEST_ROWS:
        steps = []
    totals = _totals(fitted, [row for row in steps if not _with_tables(row)])
    peaks = _peak_ratios(steps)
    return {
        "kind": "roofline",
        "device": empty.hardware.name,
        "precision": precision,
        "features": ["kind of operation", "flop", "bytes"],
        "kinds": {kind: asdict(fit) for kind, fit in kinds.items()},
        "totals": {name: asdict(fit_total(rows)) for name, rows in totals.items()},
        "memory": asdict(fit_spread(peaks)) if len(peaks) else None,
        "held_out": {
            "operations": _operations_held_out(measured),
            **{name: _total_held_out(rows) for name, rows in totals.items()},
            **({"memory": _peaks_held_out(peaks)} if len(peaks) else {}),
        },
        "data": [_described(path) for path in files],
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


Operation = tuple[str, float, float, float]


def _by_kind(empty: Roofline, operations: Sequence[Operation]) -> dict[str, Measured]:
    """Sort operations by kind; kinds of which too few were measured are left out."""
    kinds: dict[str, list[tuple[float, float, float]]] = {}
    for kind, *figures in operations:
        kinds.setdefault(kind, []).append((figures[0], figures[1], figures[2]))
    measured = {}
    for kind, rows in sorted(kinds.items()):
        if len(rows) >= FEWEST_ROWS:
            flop, size, seconds = np.array(rows).T
            measured[kind] = Measured(floor_s=empty.floor_s(flop, size), seconds=seconds)
    return measured


def _read(path: Path, precision: Precision) -> tuple[list[Operation], list[Row]]:
    """Return operations (kind, flop, bytes, seconds) and training steps of one file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head = next(csv.reader(file), [])
            if head == PRODUCT_COLUMNS:
                lines = enumerate(csv.DictReader(file, PRODUCT_COLUMNS), 2)
                return [_product(f"{path}:{number}", row) for number, row in lines], []
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if tuple(head) != COLUMNS:
        raise ConfigError(
            f"its first line is {','.join(head)!r}; must be that of a profile, or "
            f"{','.join(PRODUCT_COLUMNS)}",
            where=str(path),
        )
    rows = [(c, r) for c, r in read(path) if r.status == "ok" and c.precision == precision]
    operations = [
        (c.kind, float(r.flop), float(r.bytes), r.median_ms / 1e3)
        for c, r in rows
        if c.section == "op" or (c.section == "table" and c.phase == "forward")
    ]
    return operations, [(c, r) for c, r in rows if c.section == "step" and c.mode == "eager"]


def _product(where: str, row: dict[str, Any]) -> Operation:
    try:
        batch, m, n, k, latency_ms = (float(row[name]) for name in PRODUCT_COLUMNS[1:])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"has a value that is no number: {row}", where=where) from error
    if not all(np.isfinite(v) and v > 0 for v in (batch, m, n, k, latency_ms)):
        raise ConfigError(f"has a value that is not finite and > 0: {row}", where=where)
    kind = "bmm" if row["op"] == "bmm" else "gemm"
    size = 4 * batch * (m * k + k * n + m * n)
    return kind, 2 * batch * m * n * k, size, latency_ms / 1e3


def _with_tables(row: Row) -> bool:
    return StepDesign.from_json(row[0].design).table_rows > 0


def _totals(fitted: Roofline, steps: Sequence[Row]) -> dict[Total, Steps]:
    """Steps and forward passes without tables: the profiler's update of tables is its own."""
    if len(steps) < FEWEST_ROWS:
        return {}
    sums: dict[Total, list[tuple[float, float, float]]] = {"step": [], "forward": []}
    for case, result in steps:
        design = StepDesign.from_json(case.design)
        dense = wukong_ops.operations(design.config, design.schema, batch=case.batch)
        optimizer = wukong_ops.optimizer_operations(design.config, design.schema)
        forward = [op for op in dense if op.phase == "forward"]
        sums["step"].append((*_sum(fitted, [*dense, *optimizer]), result.median_ms / 1e3))
        sums["forward"].append((*_sum(fitted, forward), result.forward_ms / 1e3))
    columns = {name: np.array(rows).T for name, rows in sums.items()}
    return {
        name: Steps(operations_s=operations_s, count=count, seconds=seconds)
        for name, (operations_s, count, seconds) in columns.items()
    }


def _sum(fitted: Roofline, operations: Sequence[OpColumns]) -> tuple[float, float]:
    """Seconds of operations one by one, and how many they are."""
    seconds = sum((op.count * fitted.seconds(op) for op in operations), np.zeros(1))
    return float(seconds[0]), float(sum(op.count[0] for op in operations))


def _peak_ratios(steps: Sequence[Row]) -> Array:
    return np.array(
        [
            result.peak_bytes / _peak_bytes(StepDesign.from_json(case.design), case.batch)
            for case, result in steps
        ]
    )


def _peak_bytes(design: StepDesign, batch: int) -> float:
    """Closed form of the profiler's step: dense Adam, inputs, stacked tables with one state a row.

    Without tables, the vectors that lookups would give are an input; X_0 where there is no other.
    """
    d, features = design.config["d"], design.features
    held = 3 * design.parameters + batch * (design.dense + 1)
    if design.table_rows:
        ids = ID_BYTES / FP32_BYTES * batch * features
        held += features * design.table_rows * (d + 1) + ids
    elif design.dense:
        held += batch * features * d
    found = memory.stages(design.config, design.schema, batch=np.array([float(batch)]))
    return float(FP32_BYTES * (held + memory.step_peak(found)[0]))


def _log_sd(ratio: Array) -> float:
    return float(np.std(np.log(ratio)))


def _folds(rows: int) -> list[Array]:
    order = np.random.default_rng(0).permutation(rows)
    return [np.isin(np.arange(rows), order[fold::_FOLDS]) for fold in range(_FOLDS)]


def _operations_held_out(measured: dict[str, Measured]) -> dict[str, Any]:
    ratios, sigmas = [], []
    for rows in measured.values():
        for held_out in _folds(len(rows.seconds)):
            fit = fit_kind(rows[~held_out])
            predicted = rows.floor_s[held_out] / fit.utilisation + fit.overhead_s
            ratios.append(rows.seconds[held_out] / predicted)
            sigmas.append(np.full(int(held_out.sum()), fit.sigma))
    return _error(np.concatenate(ratios), np.concatenate(sigmas))


def _total_held_out(steps: Steps) -> dict[str, Any]:
    ratios, sigmas = [], []
    for held_out in _folds(len(steps.seconds)):
        fit = fit_total(steps[~held_out])
        ratios.append(steps[held_out].ratio(fit.overhead_s) / fit.factor)
        sigmas.append(np.full(int(held_out.sum()), fit.sigma))
    return _error(np.concatenate(ratios), np.concatenate(sigmas))


def _peaks_held_out(ratio: Array) -> dict[str, Any]:
    ratios, sigmas = [], []
    for held_out in _folds(len(ratio)):
        fit = fit_spread(ratio[~held_out])
        ratios.append(ratio[held_out] / fit.factor)
        sigmas.append(np.full(int(held_out.sum()), fit.sigma))
    return _error(np.concatenate(ratios), np.concatenate(sigmas))


def _error(ratio: Array, sigma: Array) -> dict[str, Any]:
    """Sum up measured / predicted, (R,), of rows that no fit had seen."""
    relative = np.abs(1 / ratio - 1)
    return {
        "rows": len(ratio),
        "median_relative_error": float(np.median(relative)),
        "p90_relative_error": float(np.quantile(relative, 0.9)),
        "share_below_upper_bound": float(np.mean(np.log(ratio) <= _Z * sigma)),
        "share_above_lower_bound": float(np.mean(np.log(ratio) >= -_Z * sigma)),
        "confidence": _CONFIDENCE,
    }


def _described(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Fit, write the artifact, and print how well it predicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="default: the device's name among the artifacts")
    arguments = parser.parse_args()
    try:
        content = _rounded(calibrate(arguments.device, arguments.files))
    except CodesignError as error:
        sys.exit(f"error: {error}")
    name = f"roofline-{content['device']}-{content['precision']}.json"
    target: Path = arguments.out or ARTIFACTS / name
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{target}\n{json.dumps(content['held_out'], indent=2)}")


if __name__ == "__main__":
    main()
