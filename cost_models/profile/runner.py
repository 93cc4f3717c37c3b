"""A run: measures case after case until the list or the time ends, and records each at once."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from codesign.errors import CodesignError, ConfigError, LaunchError
from cost_models.profile import plan
from cost_models.profile.budget import Budget, OutOfTime
from cost_models.profile.device import Device, is_out_of_memory, memory_limit
from cost_models.profile.kernels import case_bytes, case_flop
from cost_models.profile.measure import measure
from cost_models.profile.own import read_operations
from cost_models.profile.record import MAX_STARTS, Case, Record, Result

Say = Callable[[str], None]
_SAY_EVERY_S = 10.0
_NOTE_LENGTH = 300
_CLOSING_S = 3.0  # kept for starting and ending
_COMPILE_FAILURES = 3
_MOST_BYTES = 2**60  # beyond, sizes no longer fit in torch's integers
_MOST_MINUTES = 10_000


def run(
    out: Path,
    *,
    minutes: float,
    sections: Sequence[str] = plan.SECTIONS,
    device_name: str = "auto",
    shapes: Path | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Measure until the list or the time ends; an existing file is continued.

    Args:
        out: CSV file; rows that it holds are not measured again.
        minutes: most minutes of the run, > 0.
        sections: of `plan.SECTIONS`.
        device_name: `cuda`, `cpu` or `auto`.
        shapes: own operations, which come first (see `own.read_operations`).
        say: takes lines of progress.

    Returns:
        File, device, number of the run, rows measured and rows left out by kind, rows in the file,
        and the ceilings: FLOP/s, bytes/s (read and written) and microseconds.

    Raises:
        ConfigError: minutes, sections or shapes cannot be, or there is no such device.
        StudyError: the file is in use, of another device or version, or cannot be written.
        LaunchError: the device no longer computes.
    """
    if not 0 < minutes <= _MOST_MINUTES:
        raise ConfigError(f"minutes is {minutes}; must be > 0 and at most {_MOST_MINUTES}")
    unknown = [name for name in sections if name not in plan.SECTIONS]
    if unknown or not sections:
        raise ConfigError(f"sections are {list(sections)}; must be of {list(plan.SECTIONS)}")
    device = Device(device_name)
    first = read_operations(shapes, device.precisions) if shapes else []
    budget = Budget(60 * minutes - min(_CLOSING_S, 3 * minutes), device.memory_bytes)
    with contextlib.ExitStack() as stack:
        stack.callback(device.clock.close)
        record = stack.enter_context(Record(out, device=device.name))
        stack.enter_context(memory_limit(device))
        stack.enter_context(_terminated_as_interrupted())
        return _Run(record, device, budget, say).measure_all(sections, first)


class _Run:
    def __init__(self, record: Record, device: Device, budget: Budget, say: Say) -> None:
        self._record, self._device, self._budget, self._say = record, device, budget, say
        self._left_out: Counter[str] = Counter()
        self._compile_failures = 0
        self._measured: Counter[str] = Counter()
        self._said = time.monotonic()

    def measure_all(self, sections: Sequence[str], first: Sequence[Case]) -> dict[str, Any]:
        record, device = self._record, self._device
        torch.manual_seed(record.run)
        here = {**device.describe(), "commit": _commit(), "sections": list(sections)}
        self._frame("run", {**here, "clocks": device.clocks()})
        self._say(
            f"{device.name}; run {record.run} of {record.path}, {len(record.done)} rows in it"
        )
        try:
            self._each(plan.ceilings(device, repeat=record.run - 1))
            self._each(first)
            self._say("planning")
            self._each(plan.plan(device, sections))
        finally:
            self._frame("end", {"clocks": device.clocks()})
        return {
            "file": str(record.path),
            "device": device.name,
            "run": record.run,
            "measured": dict(self._measured),
            "left_for_a_longer_run": dict(self._left_out),
            "rows": len(record.rows),
            "ceilings": _ceilings(record),
        }

    def _each(self, cases: Iterable[Case]) -> None:
        for case in cases:
            if case in self._record.done:
                continue
            if not self._budget.allows(case) or self._compilers_fail(case):
                self._left_out[_stream(case)] += 1
            else:
                self._one(case)

    def _compilers_fail(self, case: Case) -> bool:
        return case.mode == "compiled" and self._compile_failures >= _COMPILE_FAILURES

    def _one(self, case: Case) -> None:
        # Ceilings come first in every run: their marks would hide which case kills the process.
        if case.section != "ceiling" and not self._record.starts(case):
            note = f"the process ended {MAX_STARTS} times while this was measured"
            self._record.append(case, Result(status="crashed", note=note))
            return
        begun = time.perf_counter()
        result = self._in_time(case)
        if result is not None and result.status == "out_of_memory":
            self._free(case)  # what an earlier row left behind must not decide
            result = self._in_time(case)
        if result is None:
            self._free(case)
            self._left_out[_stream(case)] += 1
            return  # not the row's fault: a longer run measures it
        result = dataclasses.replace(
            result,
            wall_s=time.perf_counter() - begun,
            mhz=self._device.clock.mhz(),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._record.append(case, result)
        self._budget.learn(case, result)
        self._clear(case, result)
        self._measured[_stream(case) if result.status == "ok" else result.status] += 1
        self._progress(case, result)

    def _in_time(self, case: Case) -> Result | None:
        """Measure; None where this run has no time for it."""
        try:
            with self._budget.alarm(case):
                return self._guarded(case)
        except OutOfTime:
            if not self._budget.is_generous:
                return None
        return Result(status="error", note="took far longer than a row may")

    def _guarded(self, case: Case) -> Result:
        flop, size = (case_flop(case), case_bytes(case)) if case.section == "op" else (0, 0)
        if size > _MOST_BYTES:
            return Result(status="out_of_memory", note=f"needs {size:.3g} bytes")
        try:
            return measure(case, self._device)
        except CodesignError as error:
            return Result(status="error", note=_line(error))
        except Exception as error:  # a row that fails is a row: whatever torch raised is its result
            status = "out_of_memory" if is_out_of_memory(error) else "error"
            return Result(status=status, note=_line(error), flop=flop, bytes=size)

    def _clear(self, case: Case, result: Result) -> None:
        """Free what the row held; stop where the device is broken."""
        if result.status != "ok":
            self._compile_failures += case.mode == "compiled"
        if result.status == "error" and not self._device.is_sound():
            raise LaunchError(
                f"{self._device.name} no longer computes after {case}: {result.note}",
                hint="run the same command again: it continues after this row",
            )
        if result.status != "ok" or case.section != "op":
            self._free(case)

    def _free(self, case: Case) -> None:
        if case.section != "op" or self._device.is_cuda:
            gc.collect()  # compiled models hold themselves alive
        self._device.forget()

    def _progress(self, case: Case, result: Result) -> None:
        now = time.monotonic()
        if now - self._said < _SAY_EVERY_S:
            return
        self._said = now
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self._measured.items()))
        size = f"{case.batch}×{case.m}×{case.n}×{case.k}"
        what = f"{case.kind} {size}" if case.section != "step" else f"step of {case.batch}"
        outcome = f"{result.median_ms:.3g} ms" if result.status == "ok" else result.status
        self._say(
            f"{max(self._budget.left_s, 0) / 60:.1f} min left; {counts}; "
            f"{what} {case.precision} {case.mode}: {outcome}"
        )

    def _frame(self, section: Any, note: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps(note, sort_keys=True)
        frame = Case(section=section, kind=section, repeat=self._record.run)
        self._record.append(frame, Result(time=now, note=text))


def _ceilings(record: Record) -> dict[str, float]:
    """This run's, named with their units."""
    found = {}
    for case, result in record.rows:
        if case.section != "ceiling" or result.run != record.run or result.status != "ok":
            continue
        seconds = result.median_ms / 1e3
        if case.kind == "gemm":
            found[f"{case.precision}_flop_per_s"] = result.flop / seconds
        elif case.kind == "copy":
            found["copy_bytes_per_s"] = result.bytes / seconds
        else:
            found[f"{case.mode}_launch_us"] = 1e6 * seconds
    return found


def _stream(case: Case) -> str:
    if case.repeat and case.section != "ceiling":
        return "repeated"
    return "compiled step" if case.mode == "compiled" else case.section


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_NOTE_LENGTH]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: with its end row."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
