"""Reading a table that `benchmarks/record_table.py` wrote: one finished run a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.contracts import Design, FailureKind
from codesign.errors import DataError
from codesign.table import TableSet

_FIELDS = {
    "number": int,
    "design": dict,
    "seed": int,
    "failure": (str, type(None)),
    "metrics": dict,
    "costs": dict,
    "curve": list,
    "seconds": (int, float),
}


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What an evaluation during a run found: training loss since the one before, validation."""

    examples: int
    train_log_loss: float
    validation_log_loss: float
    validation_auc: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished training run.

    Attributes:
        number: its place in the table's fixed random order of designs, from 0.
        failure: how it failed; None: it completed.
        metrics: validation metrics (`log_loss`, `auc`, …), `test_…` of the same; empty where the
            run failed.
        costs: exact costs of the design.
        seconds: how long the run took, on whatever machine.
    """

    number: int
    design: Design
    seed: int
    failure: FailureKind | None
    metrics: Mapping[str, float]
    costs: Mapping[str, float]
    curve: Sequence[CurvePoint]
    seconds: float


def read_runs(path: str | Path, *, rows: int | None = None) -> list[Run]:
    """Read the runs of numbers 0 … rows - 1, in their order.

    Args:
        rows: how many; None: as many as there are before the first number that is missing.

    Raises:
        DataError: there is no such file, a line is malformed, a number stands twice or is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("there is no such table", where=str(path), hint="record_table.py makes one")
    runs: dict[int, Run] = {}
    for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        where = f"{path}:{i}"
        run = _run(line, where)
        if run.number in runs:
            raise DataError(f"number {run.number} stands in the table twice", where=where)
        runs[run.number] = run
    complete = next(n for n in range(len(runs) + 1) if n not in runs)
    if rows is None:
        rows = complete
    if not 0 < rows <= complete:
        raise DataError(
            f"{rows} rows are asked for; the table has all numbers below {complete}",
            where=str(path),
            hint="ask for fewer, or record the missing ones with record_table.py",
        )
    return [runs[number] for number in range(rows)]


def table_set(runs: Sequence[Run]) -> TableSet:
    """Return the runs' designs, with all their exact costs, as a feasible set."""
    costs = {name: [run.costs[name] for run in runs] for name in runs[0].costs}
    return TableSet([run.design for run in runs], costs)


def _run(line: str, where: str) -> Run:
    try:
        found: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"is no JSON: {error}", where=where, hint="a cut line: delete it, then record it again"
        ) from None
    if not isinstance(found, dict):
        raise DataError(f"is {line[:40]}; must be an object, one run", where=where)
    for name, kinds in _FIELDS.items():
        if name not in found:
            raise DataError(f"has no {name}; must have {', '.join(_FIELDS)}", where=where)
        if not isinstance(found[name], kinds):
            raise DataError(f"has the {name} {found[name]!r}, of another type", where=where)
    if found["failure"] is None and "log_loss" not in found["metrics"]:
        raise DataError("has no metrics.log_loss, though the run completed", where=where)
    curve = [_point(point, where) for point in found["curve"]]
    return Run(**{name: found[name] for name in _FIELDS if name != "curve"}, curve=curve)


def _point(point: Any, where: str) -> CurvePoint:
    if not isinstance(point, list) or len(point) != len(CurvePoint.__dataclass_fields__):
        names = ", ".join(CurvePoint.__dataclass_fields__)
        raise DataError(f"has the curve point {point!r}; must be [{names}]", where=where)
    examples, train_loss, loss, auc = point
    return CurvePoint(
        examples=examples, train_log_loss=train_loss, validation_log_loss=loss, validation_auc=auc
    )
