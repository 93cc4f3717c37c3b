"""A run: what it records of cases that fail, and what it leaves for the next."""

from __future__ import annotations

import json
import math
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from codesign.errors import ConfigError, LaunchError
from cost_models.profile import plan, runner
from cost_models.profile.__main__ import main
from cost_models.profile.device import Device
from cost_models.profile.record import Case, Result, Row, read
from cost_models.profile.spaces import StepDesign
from tests.cost_models.profile.runs import assert_whole

CONFIG = {"layers": 1, "n_F": 2, "n_L": 2, "k": 2, "mlp_depth": 1, "mlp_width": 8, "d": 4,
          "head_depth": 1, "head_width": 8}  # fmt: skip


def product(size: int) -> Case:
    return Case(section="op", kind="gemm", precision="fp32", layout="nn", m=size, n=size, k=size)


def step(**design: int) -> Case:
    text = StepDesign(features=3, config=CONFIG, **design).to_json()
    return Case(section="step", kind="wukong", phase="step", precision="fp32", mode="eager",
                batch=8, design=text)  # fmt: skip


def planned(monkeypatch: pytest.MonkeyPatch, cases: Sequence[Case]) -> None:
    """Let runs measure these cases, without ceilings."""
    monkeypatch.setattr(plan, "plan", lambda device, sections: list(cases))
    monkeypatch.setattr(plan, "ceilings", lambda device, repeat: [])


def run(out: Path, *, minutes: float = 0.5) -> list[Row]:
    runner.run(out, minutes=minutes, device_name="cpu", say=lambda line: None)
    return read(out)


def framed(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(case.section, result.status) for case, result in rows]


@pytest.fixture
def room() -> Iterator[int]:
    """Let this process allocate half a GiB more, and no further byte."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (used,) = (int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + (1 << 29), before[1]))
    yield 1 << 29
    resource.setrlimit(resource.RLIMIT_DATA, before)


def test_shapes_that_exceed_the_machine_are_rows_and_the_run_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, shapes = tmp_path / "p.csv", tmp_path / "shapes.csv"
    elements = room // 4  # of each of three FP32 tensors
    shapes.write_text(
        "op,B,M,N,K,dtype\n"
        "gemm,1,1000000,1000000,1000000,fp32\n"
        "linear,64,1000000,1000000,64,bf16\n"
        "gemm,1,100000000000,100000000000,8,fp32\n"
        "bmm,1000000000,64,64,64,bf16\n"
        "layer_norm,1,100000000,100000,1,fp32\n"
        "reduction,1,1000000000,1,1000000,fp32\n"
        f"layer_norm,1,{elements // 1024},1024,1,fp32\n"
        "gemm,2,16,32,8,fp32\n"
    )
    planned(monkeypatch, [])
    arguments = ["--out", out, "--minutes", 20, "--device", "cpu", "--shapes", shapes]
    assert main([str(argument) for argument in arguments]) == 0
    rows = assert_whole(out, runs=1)
    assert [(case.kind, result.status) for case, result in rows[1:-1]] == [
        ("gemm", "out_of_memory"),
        ("gemm", "out_of_memory"),
        ("gemm", "out_of_memory"),
        ("bmm", "out_of_memory"),
        ("layer_norm", "out_of_memory"),
        ("reduction", "out_of_memory"),
        ("layer_norm", "out_of_memory"),
        ("gemm", "ok"),
    ]
    bmm = rows[4][1]
    assert (bmm.flop, bmm.bytes) == (2 * 10**9 * 64**3, 2 * 10**9 * 3 * 64 * 64)
    assert "allocate" in bmm.note
    assert rows[-2][1].median_ms > 0
    assert json.loads(capsys.readouterr().out)["measured"] == {"out_of_memory": 7, "op": 1}


@pytest.mark.parametrize("size", [10**12, 10**20])
def test_a_shape_of_more_elements_than_can_be_counted_is_out_of_memory_too(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, [product(size), product(8)])
    rows = run(tmp_path / "p.csv")
    assert framed(rows)[1:3] == [("op", "out_of_memory"), ("op", "ok")]


def test_a_step_that_exceeds_the_machine_is_a_row_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge, small = step(table_rows=10**12), step(table_rows=10)
    planned(monkeypatch, [huge, small])
    rows = run(tmp_path / "p.csv")
    assert framed(rows) == [
        ("run", "ok"), ("step", "out_of_memory"), ("step", "ok"), ("end", "ok"),
    ]  # fmt: skip
    measured = rows[2][1]
    assert measured.peak_bytes > 0
    assert measured.flop == StepDesign.from_json(small.design).flop(8)


def test_a_second_run_measures_what_the_first_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"
    planned(monkeypatch, [product(8), product(9)])
    first = run(out)
    planned(monkeypatch, [product(8), product(10), product(9)])
    rows = run(out)
    assert rows[: len(first)] == first
    assert [case for case, _ in rows[len(first) :] if case.section == "op"] == [product(10)]
    assert {result.run for _, result in rows[len(first) :]} == {2}
    assert_whole(out, runs=2)


def test_every_row_says_when_it_was_measured_how_often_and_with_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, [product(64)])
    frame, (_, measured), end = run(tmp_path / "p.csv")
    note = json.loads(frame[1].note)
    assert note["device"] == Device("cpu").name
    assert note["sections"] == ["op", "step", "table"]
    assert {"torch", "numpy", "python", "system", "commit", "clocks", "threads"} <= set(note)
    assert measured.low_ms <= measured.median_ms <= measured.high_ms
    assert measured.samples >= 3
    assert measured.inputs >= 2  # in rotation
    assert measured.flop == 2 * 64**3
    assert 0 < measured.median_ms / 1e3 < measured.wall_s
    assert frame[1].time <= measured.time <= end[1].time


def test_a_case_that_fails_is_a_row_with_its_error_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Case(section="op", kind="gemm", phase="", precision="fp32", layout="nn", m=3, n=0)
    planned(monkeypatch, [unknown, product(8)])
    monkeypatch.setattr(runner, "measure", failing_for(unknown, ValueError("first\n  second")))
    rows = run(tmp_path / "p.csv")
    assert framed(rows)[1:3] == [("op", "error"), ("op", "ok")]
    assert rows[1][1].note == "ValueError: first second"


def failing_for(bad: Case, error: Exception) -> Callable[[Case, Device], Result]:
    def measure(case: Case, device: Device) -> Result:
        if case == bad:
            raise error
        return Result(median_ms=1.0)

    return measure


def test_a_row_that_time_runs_out_on_is_left_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(case: Case, device: Device) -> Result:
        while True:
            pass

    out = tmp_path / "p.csv"
    planned(monkeypatch, [product(8), product(9)])
    with monkeypatch.context() as patched:
        patched.setattr(runner, "measure", endless)
        assert framed(run(out, minutes=0.01)) == [("run", "ok"), ("end", "ok")]
    assert framed(run(out))[3:5] == [("op", "ok"), ("op", "ok")]


def test_a_compiler_that_fails_again_and_again_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = [
        Case(section="op", kind="gemm", precision="fp32", layout="nn", mode="compiled", m=m, n=4)
        for m in range(1, 8)
    ]
    planned(monkeypatch, [*compiled, product(8)])

    def measure(case: Case, device: Device) -> Result:
        if case.mode == "compiled":
            raise RuntimeError("no compiler")
        return Result(median_ms=1.0)

    monkeypatch.setattr(runner, "measure", measure)
    rows = run(tmp_path / "p.csv")
    assert Counter(framed(rows)) == {
        ("run", "ok"): 1, ("op", "error"): 3, ("op", "ok"): 1, ("end", "ok"): 1,
    }  # fmt: skip


def test_a_device_that_no_longer_computes_ends_the_run_after_the_row_that_broke_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"
    planned(monkeypatch, [product(8), product(9)])
    monkeypatch.setattr(runner, "measure", failing_for(product(8), RuntimeError("illegal access")))
    monkeypatch.setattr(Device, "is_sound", lambda self: False)
    with pytest.raises(LaunchError, match=r"no longer computes after .*m=8.*illegal access"):
        run(out)
    assert framed(read(out)) == [("run", "ok"), ("op", "error"), ("end", "ok")]
    monkeypatch.setattr(Device, "is_sound", lambda self: True)
    assert [case.m for case, _ in run(out) if case.section == "op"] == [8, 9]


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf])
def test_minutes_that_cannot_be_are_refused(
    minutes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, [product(8)])
    with pytest.raises(ConfigError, match=f"minutes is {minutes}; must be"):
        run(tmp_path / "p.csv", minutes=minutes)


@pytest.mark.parametrize("sections", [[], ["op", "tables"]])
def test_sections_that_there_are_not_are_refused(sections: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sections are .* must be of"):
        runner.run(tmp_path / "p.csv", minutes=1, sections=sections)
    assert not list(tmp_path.iterdir())


def test_limits_and_handlers_are_as_before_when_a_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    planned(monkeypatch, [product(8)])
    before = (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGTERM))
    run(tmp_path / "p.csv")
    assert (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGTERM)) == before
