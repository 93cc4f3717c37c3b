"""Measurements as fits take them, from profiles and from tables of operations. R rows."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codesign.errors import ConfigError, StudyError
from cost_models.calibrate.peaks import profiled_peak_bytes
from cost_models.calibrate.steps import MeasuredStep, profiled_step
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.operations.ops import PRODUCTS
from cost_models.operations.tables import read_table
from cost_models.profile.record import COLUMNS, Row, read
from cost_models.times.learned.features import Shapes
from cost_models.times.learned.fit import Products


@dataclass(frozen=True)
class MeasuredOperations:
    """Operations by themselves, each field (R,).

    Attributes:
        kind: of `cost_models.operations.ops.KINDS`.
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

    @classmethod
    def joined(cls, parts: Sequence[MeasuredOperations]) -> MeasuredOperations:
        """Put parts one after the other."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(each) for each in columns))

    def __getitem__(self, rows: Array) -> MeasuredOperations:
        return MeasuredOperations(*(column[rows] for column in vars(self).values()))

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def products(self) -> Products:
        """Those that are matrix products."""
        rows = self[np.isin(self.kind, PRODUCTS)]
        shapes = Shapes(batched=rows.kind == "bmm", batch=rows.batch, m=rows.m, n=rows.n, k=rows.k)
        return Products(shapes=shapes, seconds=rows.seconds)


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


def read_files(
    files: Sequence[Path],
    hardware: Hardware,
    precision: Precision,
    *,
    accept_mismatch: bool = False,
) -> Measurements:
    """Read profiles, and tables of operations (see `cost_models.operations.tables`).

    Args:
        accept_mismatch: take files of another device, or of several versions of torch.

    Raises:
        ConfigError: a file cannot be read, is no table of measurements, or is of another device;
            a row has a value that cannot be.
    """
    tables: list[MeasuredOperations] = []
    rows: list[Row] = []
    versions: dict[str, Path] = {}
    for path in files:
        if not _is_profile(path):
            tables += _table(path, precision)
            continue
        for case, result in _profile(path):
            if case.section == "run":
                here = _run_note(path, result.note)
                versions.setdefault(str(here.get("torch", "unknown")), path)
                if not accept_mismatch:
                    _check_device(path, here, hardware)
            elif case.precision == precision and result.status == "ok":
                rows.append((case, result))
    if not accept_mismatch:
        _check_versions(versions)
    steps = [row for row in rows if row[0].section == "step"]
    return Measurements(
        operations=MeasuredOperations.joined([_profiled(rows), *tables]),
        steps=[profiled_step(*row) for row in steps],
        peak_ratios=np.zeros(0) if precision == "bf16" else _peak_ratios(steps, hardware),
        repeats={"operations": _repeats(rows, "op"), "steps": _repeats(rows, "step")},
        torch=frozenset(versions),
    )


def _peak_ratios(steps: Sequence[Row], hardware: Hardware) -> Array:
    """Measured / predicted peak bytes of eager steps."""
    found = [
        result.peak_bytes / profiled_peak_bytes(case, one_step_layers=hardware.is_cpu)
        for case, result in steps
        if case.mode == "eager"
    ]
    return np.array(found)


def _profiled(rows: Sequence[Row]) -> MeasuredOperations:
    """The operations of a profile; of tables, their lookups."""
    own = [
        (case, result)
        for case, result in rows
        if case.section == "op" or (case.section == "table" and case.phase == "forward")
    ]
    dims = [(c.batch, c.m, c.n, c.k, r.flop, r.bytes, r.median_ms / 1e3) for c, r in own]
    return MeasuredOperations(
        np.array([case.kind for case, _ in own], dtype=object),
        *np.array(dims, dtype=float).reshape(len(own), 7).T,
    )


def _table(path: Path, precision: Precision) -> list[MeasuredOperations]:
    """The measured rows of a table that are in this precision."""
    table = read_table(path)
    latency_s, is_measured = table.latency_s, table.is_measured
    if not is_measured.any():
        raise ConfigError("has no measured row", where=str(path), hint="add a column latency_ms")
    found = []
    for group in table.groups():
        measured = is_measured[group.rows]
        if group.precision != precision or not measured.any():
            continue
        op, rows = group.op, len(group.rows)
        columns = (op.batch, op.m, op.n, op.k, op.flop, op.bytes, latency_s[group.rows])
        numbers = [np.broadcast_to(column, (rows,))[measured] for column in columns]
        kinds = np.full(int(measured.sum()), op.kind, dtype=object)
        found.append(MeasuredOperations(kinds, *numbers))
    return found


def _is_profile(path: Path) -> bool:
    """Whether a file is a profile.

    Raises:
        ConfigError: it cannot be read, or is a profile of another version.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head = tuple(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot be read: {reason}", where=str(path)) from error
    if "section" in head and head != COLUMNS:
        raise ConfigError(
            f"is a profile of another version: its first line must be {','.join(COLUMNS)}",
            where=str(path),
            hint="`codesign profile --out FILE.csv` measures anew",
        )
    return head == COLUMNS


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


def _check_versions(versions: Mapping[str, Path]) -> None:
    """Refuse measurements of several versions of torch: version → a file of it."""
    if len(versions) > 1:
        said = "; ".join(f"{path} by torch {version}" for version, path in versions.items())
        raise ConfigError(
            f"measurements are of several versions: {said}",
            hint="measure again with one version, or accept it with --accept-mismatch",
        )


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
