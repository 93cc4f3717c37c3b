"""Measurements as fits take them, from profiles and from tables of products. R rows."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codesign.errors import ConfigError, StudyError
from cost_models.calibrate.peaks import profiled_peak_bytes
from cost_models.calibrate.steps import MeasuredStep, profiled_step
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.ops import PRODUCTS
from cost_models.profile.record import COLUMNS, Row, read

PRODUCT_COLUMNS = ("op", "B", "M", "N", "K", "latency_ms")
_OPERATION_SECTIONS = ("op", "table")


@dataclass(frozen=True, kw_only=True)
class MeasuredOperations:
    """Operations by themselves, each field (R,).

    Attributes:
        kind: of `cost_models.ops.KINDS`.
        batch, m, n, k: dims, see there.
        flop, bytes: of one.
        seconds: measured, > 0.
    """

    kind: Array
    batch: Array
    m: Array
    n: Array
    k: Array
    flop: Array
    bytes: Array
    seconds: Array

    def __getitem__(self, rows: Array) -> MeasuredOperations:
        return MeasuredOperations(**{name: column[rows] for name, column in vars(self).items()})

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What files hold for one device and precision.

    Attributes:
        steps: training steps.
        peak_ratios: measured / predicted peak bytes of steps, (R,).
        repeats: operation or step → |log| of the ratios of rows measured twice.
        torch: versions that measured.
    """

    operations: MeasuredOperations
    steps: Sequence[MeasuredStep] = ()
    peak_ratios: Array = field(default_factory=lambda: np.zeros(0))
    repeats: dict[str, Array] = field(default_factory=dict)
    torch: frozenset[str] = frozenset()


Numbers = tuple[str, float, float, float, float, float, float, float]


def read_files(
    files: Sequence[Path],
    hardware: Hardware,
    precision: Precision,
    *,
    accept_mismatch: bool = False,
) -> Measurements:
    """Read profiles and tables of products.

    Args:
        accept_mismatch: take files of another device, or of several versions of torch.

    Raises:
        ConfigError: a file cannot be read, is no table of measurements, or is of another device;
            a row has a value that cannot be.
    """
    operations: list[Numbers] = []
    rows: list[Row] = []
    versions: dict[str, Path] = {}
    for path in files:
        if _header(path) == PRODUCT_COLUMNS:
            operations += _products(path)
            continue
        for case, result in _profile(path):
            if case.section == "run":
                here = _run_note(path, result.note)
                versions.setdefault(str(here.get("torch", "unknown")), path)
                if not accept_mismatch:
                    _check_device(path, here, hardware)
            elif case.precision == precision and result.status == "ok":
                rows.append((case, result))
    if len(versions) > 1 and not accept_mismatch:
        said = "; ".join(f"{path} by torch {version}" for version, path in versions.items())
        raise ConfigError(
            f"measurements are of several versions: {said}",
            hint="measure again with one version, or accept it with --accept-mismatch",
        )
    operations += [_operation(row) for row in rows if _is_operation(row)]
    steps = [row for row in rows if row[0].section == "step"]
    eager = [row for row in steps if row[0].mode == "eager"]
    return Measurements(
        operations=_columns(operations),
        steps=[profiled_step(*row) for row in steps],
        peak_ratios=np.array(
            [result.peak_bytes / profiled_peak_bytes(case) for case, result in eager]
            if precision != "bf16"
            else []
        ),
        repeats={"operations": _repeats(rows, "op"), "steps": _repeats(rows, "step")},
        torch=frozenset(versions),
    )


def _is_operation(row: Row) -> bool:
    case = row[0]
    return case.section == "op" or (case.section == "table" and case.phase == "forward")


def _operation(row: Row) -> Numbers:
    case, result = row
    dims = float(case.batch), float(case.m), float(case.n), float(case.k)
    return case.kind, *dims, float(result.flop), float(result.bytes), result.median_ms / 1e3


def _columns(rows: Sequence[Numbers]) -> MeasuredOperations:
    kinds = np.array([row[0] for row in rows], dtype=object)
    numbers = np.array([row[1:] for row in rows], dtype=float).reshape(len(rows), 7)
    names = ("batch", "m", "n", "k", "flop", "bytes", "seconds")
    return MeasuredOperations(kind=kinds, **dict(zip(names, numbers.T, strict=True)))


def _header(path: Path) -> tuple[str, ...]:
    """The first line of a file, which is one of the two kinds."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head = tuple(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot be read: {reason}", where=str(path)) from error
    if head in (PRODUCT_COLUMNS, COLUMNS):
        return head
    raise ConfigError(
        f"its first line is {','.join(head)[:200]!r}; must be that of a profile of this version, "
        f"or {','.join(PRODUCT_COLUMNS)}",
        where=str(path),
        hint="`codesign profile --out FILE.csv` measures anew",
    )


def _profile(path: Path) -> list[Row]:
    try:
        rows = read(path)
    except StudyError as error:
        raise ConfigError(error.what, where=error.where, hint=error.hint) from error
    for number, (case, result) in enumerate(rows, 2):
        if case.section not in ("op", "step", "table") or result.status != "ok":
            continue
        times = {"median_ms": result.median_ms}
        if case.section == "step":
            times["forward_ms"] = result.forward_ms
        for name, value in times.items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{name} is {value}; must be finite and > 0",
                    where=f"{path}:{number}",
                    hint="take the row out, or measure it again",
                )
    return rows


def _run_note(path: Path, note: str) -> dict[str, Any]:
    try:
        found = json.loads(note)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "device" not in found:
        raise ConfigError(f"has a row `run` whose note names no device: {note[:80]!r}",
                          where=str(path))  # fmt: skip
    return found


def _check_device(path: Path, run: dict[str, Any], hardware: Hardware) -> None:
    """A GPU is known by its name, a CPU by its being none."""
    is_gpu = "capability" in run
    if is_gpu == bool(hardware.reported_as) and run["device"] == (
        hardware.reported_as or run["device"]
    ):
        return
    raise ConfigError(
        f"was measured on {run['device']}; {hardware.name} is {hardware.reported_as or 'a CPU'}",
        where=str(path),
        hint="name the device that was measured (reported_as in a hardware file of your own), or "
        "accept it with --accept-mismatch",
    )


def _products(path: Path) -> list[Numbers]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return [_product(f"{path}:{number}", row) for number, row in enumerate(lines, 2)]


def _product(where: str, row: dict[str, Any]) -> Numbers:
    try:
        batch, m, n, k, latency_ms = (float(row[name]) for name in PRODUCT_COLUMNS[1:])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"has a value that is no number: {row}", where=where) from error
    if not all(math.isfinite(v) and v > 0 for v in (batch, m, n, k, latency_ms)):
        raise ConfigError(f"has a value that is not finite and > 0: {row}", where=where)
    kind = PRODUCTS[row["op"] == "bmm"]
    size = 4 * batch * (m * k + k * n + m * n)
    return kind, batch, m, n, k, 2 * batch * m * n * k, size, latency_ms / 1e3


def _repeats(rows: Sequence[Row], section: str) -> Array:
    """|log| of how far apart rows are that were measured twice."""
    first = {
        (*vars(case).values(),)[:-1]: result.median_ms
        for case, result in rows
        if case.section == section and not case.repeat
    }
    found = [
        abs(math.log(result.median_ms / first[key]))
        for case, result in rows
        if case.section == section
        and case.repeat
        and (key := (*vars(case).values(),)[:-1]) in first
    ]
    return np.array(found)
