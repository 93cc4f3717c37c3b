"""The file of a profile: one CSV row per measurement, appended as soon as it is known.

A row says what was measured (the fields of `Case`) and what came out (those of `Result`). Rows of
section `run` and `end` hold, as JSON in `note`, where, when and with what the rows between them
were measured. Each row is one write of one whole line, so that a killed run leaves a readable file;
should a line be torn all the same (a full disk, a power cut), the next run takes it off.
"""

from __future__ import annotations

import csv
import dataclasses
import errno
import fcntl
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_type_hints

from codesign.errors import CodesignError, StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

Section = Literal["run", "ceiling", "op", "step", "table", "end"]
MAX_STARTS = 3  # a case that ended the process so often is recorded as crashed, not tried again


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured; equal cases are one row.

    Attributes:
        section: `ceiling`, `op`, `step` or `table` (`run` and `end` frame the rows of a run).
        kind: of a ceiling or a table: what it is; of an operation: see
            `cost_models.operations.ops.KINDS`; of a step: the model.
        phase: `forward`, `backward` or `optimizer`; of a step: `step`.
        precision: `fp32`, `tf32` (FP32 tensors, TF32 products) or `bf16`.
        mode: of a step, `eager` or `compiled`; of the launch ceiling, `eager` or `graph`.
        layout: of a matrix product, see `cost_models.operations.ops`.
        batch: products of a batched product; examples of a step or of a lookup.
        m, n, k: sizes, see `cost_models.operations.ops.KINDS`; of a table section: tables, width,
            ids a bag.
        design: JSON of the shape that a step trains, or of further sizes.
        repeat: 0, or which repetition of the row (for the noise floor).
    """

    section: Section
    kind: str
    phase: str = ""
    precision: str = ""
    mode: str = ""
    layout: str = ""
    batch: int = 1
    m: int = 1
    n: int = 1
    k: int = 1
    design: str = ""
    repeat: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out.

    Attributes:
        status: `ok`, `out_of_memory`, `crashed` (the process died while measuring), or `error`
            (`note` says which).
        median_ms, low_ms, high_ms: time of one execution: median, 10th and 90th percentile.
        samples: timings behind these; on a GPU each spans several executions of an operation.
        inputs: input sets in rotation.
        lookup_ms, forward_ms, backward_ms, optimizer_ms: medians of a step's parts.
        flop, bytes: of one execution: counted, not measured.
        peak_bytes: most memory allocated at any moment of a step, weights and state included.
        compile_s: time until the first compiled step had run.
        mhz: clock of the processor as read just after, 0 where unknown.
        wall_s: what the row took, set-up and warm-up included.
        time: when it was written, UTC.
        run: number of the run (of its `run` row) within the file.
        note: text, or JSON.
    """

    status: str = "ok"
    median_ms: float = 0.0
    low_ms: float = 0.0
    high_ms: float = 0.0
    samples: int = 0
    inputs: int = 0
    lookup_ms: float = 0.0
    forward_ms: float = 0.0
    backward_ms: float = 0.0
    optimizer_ms: float = 0.0
    flop: int = 0
    bytes: int = 0
    peak_bytes: int = 0
    compile_s: float = 0.0
    mhz: int = 0
    wall_s: float = 0.0
    time: str = ""
    run: int = 0
    note: str = ""


Row = tuple[Case, Result]
CASE_FIELDS = tuple(field.name for field in dataclasses.fields(Case))
COLUMNS = CASE_FIELDS + tuple(field.name for field in dataclasses.fields(Result))
_TYPES = get_type_hints(Case) | get_type_hints(Result)


def read(path: Path) -> list[Row]:
    """Read a profile; a last line without an end is left out.

    Raises:
        StudyError: no file, or not a profile of this version, or a row that cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return _rows(path, content[: content.rfind(b"\n") + 1])


def _rows(path: Path, content: bytes) -> list[Row]:
    try:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"is no profile: {error}", where=str(path)) from error
    if not lines:
        return []
    if tuple(lines[0]) != COLUMNS:
        raise StudyError(
            f"is no profile of this version: its first line must be {','.join(COLUMNS)}",
            where=str(path),
            hint="name another file with --out",
        )
    return [_row(f"{path}:{number}", cells) for number, cells in enumerate(lines[1:], 2)]


def _row(where: str, cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise StudyError(f"has {len(cells)} columns; must have {len(COLUMNS)}", where=where)
    values: dict[str, Any] = {}
    for name, text in zip(COLUMNS, cells, strict=True):
        kind = _TYPES[name] if _TYPES[name] in (int, float) else str
        try:
            values[name] = kind(text)
        except ValueError as error:
            raise StudyError(f"{name} is {text!r}; must be a number", where=where) from error
    case = {name: values.pop(name) for name in CASE_FIELDS}
    return Case(**case), Result(**values)


class Record:
    """A profile open for writing; one process at a time.

    Args:
        path: is created where it is missing, continued where it is not.
        device: the name of the device; one file holds rows of one device.

    Raises:
        StudyError: another process writes it, it is no profile of this version, or it was measured
            on another device.
    """

    def __init__(self, path: Path, *, device: str) -> None:
        self.path = path
        if path.exists() and not path.is_file():
            raise StudyError("is no file", where=str(path), hint="name a CSV file with --out")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StudyError(f"cannot be written: {error.strerror}", where=str(path)) from error
        try:
            self._lock()
            self.rows = self._repaired_rows()
            self._check_device(device)
        except BaseException:
            os.close(self._file)
            raise
        self.run = 1 + max((result.run for _, result in self.rows), default=0)
        self.done = {case for case, _ in self.rows}
        self._marker = path.with_name(path.name + ".running")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._marker.unlink(missing_ok=True)
        os.close(self._file)

    def append(self, case: Case, result: Result) -> None:
        """Add one row.

        Raises:
            StudyError: it cannot be written, the disk being full, say.
        """
        result = dataclasses.replace(result, run=self.run)
        self._write([*_cells(case), *_cells(result)])
        self.rows.append((case, result))
        self.done.add(case)

    def starts(self, case: Case) -> bool:
        """Note that a case is about to be measured; False where it keeps killing the process."""
        starts = 0
        try:
            marked = json.loads(self._marker.read_text(encoding="utf-8"))
            if marked["case"] == dataclasses.asdict(case):
                starts = int(marked["starts"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no marker, or a torn one: nothing is known of an earlier start
        if starts >= MAX_STARTS:
            return False
        self._mark({"case": dataclasses.asdict(case), "starts": starts + 1})
        return True

    def _mark(self, marker: Mapping[str, object]) -> None:
        fresh = self._marker.with_name(self._marker.name + ".new")
        try:
            fresh.write_text(json.dumps(marker), encoding="utf-8")
            fresh.replace(self._marker)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._unwritable(error) from error
            raise StudyError(
                "is being written by another profile",
                where=str(self.path),
                hint="wait for it, or name another file with --out",
            ) from error

    def _repaired_rows(self) -> list[Row]:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        header = ",".join(COLUMNS).encode()
        if not whole and not header.startswith(content):
            raise StudyError(
                "is no profile", where=str(self.path), hint="name another file with --out"
            )
        rows = _rows(self.path, content[:whole])
        if whole < len(content):
            os.ftruncate(self._file, whole)
        if not whole:
            self._write(COLUMNS)
        return rows

    def _check_device(self, device: str) -> None:
        for case, result in self.rows:
            if case.section == "run":
                measured_on = self._device_of(result)
                if measured_on != device:
                    raise StudyError(
                        f"holds measurements of {measured_on}; this is {device}",
                        where=str(self.path),
                        hint="name another file with --out",
                    )

    def _device_of(self, result: Result) -> str:
        try:
            return str(json.loads(result.note)["device"])
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"has a row `run` whose note is no JSON with a device: {result.note[:80]!r}",
                where=str(self.path),
            ) from error

    def _write(self, cells: object) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
        data = line.getvalue().encode("utf-8")
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise self._unwritable(error) from error
        if written < len(data):
            os.ftruncate(self._file, size)
            raise StudyError("cannot be written: no space left", where=str(self.path))

    def _unwritable(self, error: OSError) -> CodesignError:
        return StudyError(
            f"cannot be written: {error.strerror}",
            where=str(self.path),
            hint="what was measured so far is kept; the same command continues",
        )


def _cells(part: Case | Result) -> list[str]:
    return [_text(value) for value in dataclasses.astuple(part)]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    # A row is one line, whatever an error's text holds.
    text = str(value).replace("\r", " ").replace("\n", " ")
    return text.encode("utf-8", "replace").decode("utf-8")
