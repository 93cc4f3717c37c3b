"""Predicted times of a table of operations, one by one and summed, beside measured ones.

The interval of a sum: errors of operations are partly alike, for the same model made them all. Of
each variance of log(measured / predicted), half is taken as shared by all operations and half as
the operation's own, which many operations average out:

    variance of log(sum) = ½ (Σ w σ)² + ½ Σ (w σ)²,   w: share of the time

so a sum is never known better than within 0.7 of its operations' usual spread. How often an
operation comes changes w alone; rows of the same operation are one. The half is *assumed*.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from codesign.errors import ConfigError
from cost_models.artifacts import cost_model, was_fitted_to
from cost_models.evaluation.ranking import kendall_tau, pairwise_accuracy
from cost_models.evaluation.scatter import scatter_svg
from cost_models.evaluation.scores import one_sided
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision, load_hardware
from cost_models.operations.tables import SIZES, OpTable, read_table
from cost_models.times.roofline import Basis

SHARED = 0.5


@dataclass(frozen=True, kw_only=True)
class PredictedTable:
    """A table of R operations with what a device takes for them.

    Attributes:
        seconds: median of one execution, (R,).
        sigma: standard deviation of log(measured / predicted), (R,).
        basis: for each row what its prediction rests on, see `cost_models.times.roofline.Basis`.
        labels: precision → what predicts it.
        seen: precisions whose model was fitted to this very file: errors are then not held out.
        hardware: name of the device.
    """

    table: OpTable
    hardware: str
    seconds: Array
    sigma: Array
    basis: tuple[Basis, ...]
    labels: dict[Precision, str]
    seen: tuple[Precision, ...]

    def total_s(self, z: float) -> float:
        """Return a quantile of the time of all executions, `z` standard deviations up."""
        time_s = self.table.count * self.seconds
        sum_s = float(time_s.sum())
        if not sum_s:
            return 0.0
        spread: dict[Any, float] = defaultdict(float)
        for row, part in zip(self.table.rows, time_s * self.sigma / sum_s, strict=True):
            spread[row.op, row.dtype, row.sizes] += float(part)
        parts = np.array(list(spread.values()))
        variance = SHARED * parts.sum() ** 2 + (1 - SHARED) * (parts**2).sum()
        return sum_s * float(np.exp(z * np.sqrt(variance)))


def evaluate(
    path: Path,
    *,
    device: str,
    confidence: float,
    out: Path | None = None,
    plot: Path | None = None,
) -> dict[str, Any]:
    """Predict the operations of a table, and compare them with its latencies where it has some.

    Args:
        path: see `cost_models.operations.tables`.
        device: of `cost_models.hardware.shipped()`, or the path of a hardware file.
        confidence: of each end of the intervals, in (0.5, 1).
        out: CSV file to write the predictions to.
        plot: SVG file to draw predicted against measured times in.

    Returns:
        `operations` row by row, `sum` over all executions, `kinds`, and `compared` with what was
        measured: of products and of all. Times in ms; errors are of predicted / measured - 1, and
        not held out in the precisions of `fitted_to_this_file`.

    Raises:
        ConfigError: the table, the device or its model cannot be read, or the device has no rate
            for a row's dtype; `out` or `plot` cannot be written, or there is nothing to draw.
    """
    if not 0.5 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; must be above 0.5 and below 1")
    found = predict(read_table(path), load_hardware(device))
    operations = _operations(found, confidence)
    if out is not None:
        _write(out, _csv(operations))
    if plot is not None:
        _write(plot, _drawing(found))
    return {
        "file": str(path),
        "hardware": found.hardware,
        "confidence": confidence,
        "ignored_columns": list(found.table.ignored),
        "labels": found.labels,
        "fitted_to_this_file": list(found.seen),
        "operations": operations,
        "sum": _sum(found, confidence),
        "kinds": _kinds(operations),
        "compared": _compared(found, confidence),
    }


def predict(table: OpTable, hardware: Hardware) -> PredictedTable:
    """Predict each row by the device's model of its precision.

    Raises:
        ConfigError: the device has no rate for a row's dtype, or its model cannot be read.
    """
    rows = len(table.rows)
    seconds, sigma = np.zeros(rows), np.zeros(rows)
    basis: list[Basis] = ["assumed"] * rows
    labels: dict[Precision, str] = {}
    for group in table.groups():
        if group.precision not in hardware.flop_per_s:
            raise ConfigError(
                f"is in {group.precision}; {hardware.path} has flop_per_s of "
                f"{', '.join(hardware.flop_per_s)}",
                where=f"{table.path}:{table.rows[group.rows[0]].line}",
                hint=f"add flop_per_s.{group.precision} to a hardware file, or change dtype",
            )
        model = cost_model(hardware, group.precision).operations
        seconds[group.rows] = model.seconds(group.op)
        sigma[group.rows] = model.sigma(group.op)
        labels[group.precision] = model.label
        for row in group.rows:
            basis[row] = model.basis(group.op)
    return PredictedTable(
        table=table,
        hardware=hardware.name,
        seconds=seconds,
        sigma=sigma,
        basis=tuple(basis),
        labels=labels,
        seen=tuple(p for p in labels if was_fitted_to(table.path, hardware, p)),
    )


def _operations(found: PredictedTable, confidence: float) -> list[dict[str, Any]]:
    z = NormalDist().inv_cdf(confidence)
    low_s, high_s = (found.seconds * np.exp(end * found.sigma) for end in (-z, z))
    made = []
    for place, row in enumerate(found.table.rows):
        predicted_s = float(found.seconds[place])
        measured_s = row.latency_s
        made.append(
            {
                "line": row.line,
                "op": row.name,
                "kind": row.op.kind,
                **{name: int(size) for name, size in zip(SIZES, row.sizes, strict=True)},
                "count": int(row.count),
                "precision": row.dtype.precision,
                "predicted_ms": 1e3 * predicted_s,
                "low_ms": 1e3 * float(low_s[place]),
                "high_ms": 1e3 * float(high_s[place]),
                "basis": found.basis[place],
                "measured_ms": None if measured_s is None else 1e3 * measured_s,
                "error": None if measured_s is None else predicted_s / measured_s - 1,
            }
        )
    return made


def _sum(found: PredictedTable, confidence: float) -> dict[str, Any]:
    z = NormalDist().inv_cdf(confidence)
    value_ms, low_ms, high_ms = (1e3 * found.total_s(end) for end in (0.0, -z, z))
    return {
        "executions": int(found.table.count.sum()),
        "predicted_ms": value_ms,
        "low_ms": low_ms,
        "high_ms": high_ms,
    }


def _kinds(operations: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Kind → executions and predicted time, the longest first."""
    found: dict[str, dict[str, float]] = {}
    for row in operations:
        entry = found.setdefault(row["kind"], {"executions": 0, "predicted_ms": 0.0})
        entry["executions"] += row["count"]
        entry["predicted_ms"] += row["count"] * row["predicted_ms"]
    return dict(sorted(found.items(), key=lambda item: -item[1]["predicted_ms"]))


def _compared(found: PredictedTable, confidence: float) -> dict[str, Any]:
    """Statistics over the rows that were measured, each once: of products, and of all."""
    table = found.table
    parts = {"products": table.is_measured & table.is_product, "all": table.is_measured}
    return {name: _statistics(found, rows, confidence) for name, rows in parts.items() if any(rows)}


def _statistics(found: PredictedTable, rows: Array, confidence: float) -> dict[str, Any]:
    predicted_s, measured_s = found.seconds[rows], found.table.latency_s[rows]
    sigma, count = found.sigma[rows], found.table.count[rows]
    z = NormalDist().inv_cdf(confidence)
    logs = np.log(measured_s / predicted_s)
    predicted_ms, measured_ms = 1e3 * float(count @ predicted_s), 1e3 * float(count @ measured_s)
    return {
        **one_sided(measured_s / predicted_s, sigma, confidence),
        "share_within_interval": float(np.mean(np.abs(logs) <= z * sigma)),
        "expected_within_interval": 2 * confidence - 1,
        "predicted_ms": predicted_ms,
        "measured_ms": measured_ms,
        "error_of_sum": predicted_ms / measured_ms - 1 if measured_ms else None,
        "kendall_tau": kendall_tau(predicted_s, measured_s),
        "pairwise_accuracy": pairwise_accuracy(predicted_s, measured_s),
    }


_OUT = (
    "line", "op", *SIZES, "count", "precision", "predicted_ms", "low_ms", "high_ms", "basis",
    "measured_ms", "error",
)  # fmt: skip


def _csv(operations: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, _OUT, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(operations)
    return file.getvalue()


def _drawing(found: PredictedTable) -> str:
    measured_ms, predicted_ms = 1e3 * found.table.latency_s, 1e3 * found.seconds
    is_measured, is_product = found.table.is_measured, found.table.is_product
    if not is_measured.any():
        raise ConfigError(
            "has no latency to draw predictions against",
            where=str(found.table.path),
            hint="add a column latency_ms, or leave --plot out",
        )
    chosen = {"products": is_measured & is_product, "other kinds": is_measured & ~is_product}
    return scatter_svg(
        {
            name: (measured_ms[rows], predicted_ms[rows])
            for name, rows in chosen.items()
            if rows.any()
        },
        title=f"{found.table.path.name}: measured, and as predicted for {found.hardware}",
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from error
