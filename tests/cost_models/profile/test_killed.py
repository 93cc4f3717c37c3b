"""Runs that are killed, stopped or that die: the file stays whole and is continued."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from cost_models.profile.record import MAX_STARTS, read
from tests.cost_models.profile.runs import ROOT, assert_whole, finish, one_thread, start

KILLS = 3


def operations(folder: Path, *, sizes: Iterable[int]) -> Path:
    path = folder / "shapes.csv"
    rows = [f"gemm,1,{size},{size},{size}" for size in sizes]
    path.write_text("\n".join(["op,B,M,N,K", *rows]) + "\n")
    return path


def wait_for_rows(path: Path, process: subprocess.Popen[str], count: int) -> None:
    """Return once a file has so many lines, or the process has ended."""
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        with_timeout(process, 0.02)


def with_timeout(process: subprocess.Popen[str], seconds: float) -> None:
    """Let a process go on for a while."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def test_a_run_killed_again_and_again_is_continued_with_no_row_lost_or_doubled(
    tmp_path: Path,
) -> None:
    path, rng = tmp_path / "p.csv", np.random.default_rng(3)
    own = ("--tables", "--shapes", operations(tmp_path, sizes=range(200, 240)))
    before: list[object] = []
    for number in range(1, KILLS + 1):
        process = start(path, *own)
        wait_for_rows(path, process, len(before) + 2 + int(rng.integers(0, 7)))
        with_timeout(process, float(rng.uniform(0, 0.4)))
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL
        rows = read(path)
        assert rows[: len(before)] == before
        assert [result.run for case, result in rows if case.section == "run"][-1] == number
        before = list(rows)
    code, stdout, stderr = finish(start(path, *own, minutes=0.06))
    assert code == 0, stderr
    rows = assert_whole(path, runs=KILLS + 1)
    assert rows[: len(before)] == before
    assert json.loads(stdout)["rows"] == len(rows) > len(before)
    assert rows[-1][0].section == "end"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_writes_its_end_and_can_be_continued(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    process = start(path, "--tables")
    wait_for_rows(path, process, 3)
    process.send_signal(number)
    code, stdout, stderr = finish(process)
    assert (code, stdout) == (130, "")
    assert stderr.endswith("interrupted; the same command continues\n")
    rows = assert_whole(path, runs=1)
    assert [case.section for case, _ in rows[:1]] == ["run"]
    assert rows[-1][0].section == "end"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.csv"]


# Children of one process, for speed: each is a run, in which one operation ends the process.
RUNS = """
import os, signal, sys
from pathlib import Path
from cost_models.profile import runner
from cost_models.profile.record import Result

out, shapes, runs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def measure(case, device):
    if (case.section, case.m) == ("op", 13):
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(median_ms=1.0, flop=10**8, bytes=10**7)

runner.measure = measure
for _ in range(runs):
    child = os.fork()
    if child == 0:
        runner.run(out, minutes=0.05, sections=["table"], device_name="cpu", shapes=shapes,
                   say=lambda line: None)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_operation_that_kills_the_process_is_given_up_and_the_next_run_goes_on(
    tmp_path: Path,
) -> None:
    out, shapes = tmp_path / "p.csv", operations(tmp_path, sizes=(12, 13, 14))
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(out), str(shapes), str(MAX_STARTS + 1)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=one_thread(),
    )  # fmt: skip
    codes = [line for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    status = {case.m: result.status for case, result in read(out) if case.section == "op"}
    assert codes == [*["-9"] * MAX_STARTS, "0"], done.stderr
    assert status == {12: "ok", 13: "crashed", 14: "ok"}
