"""The file of a profile: what is written comes back, whatever happens to process and disk."""

from __future__ import annotations

import csv
import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.errors import StudyError
from cost_models.profile.record import COLUMNS, MAX_STARTS, Case, Record, Result, Row, read
from tests.cost_models.profile.runs import ROOT

DEVICE = "a device, 4 threads"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
SIZE = st.integers(0, 10**15)
REAL = st.floats(0, 1e12, allow_subnormal=False)


def fields_of(kind: type) -> dict[str, st.SearchStrategy[Any]]:
    by_type = {"str": TEXT, "int": SIZE, "float": REAL}
    return {
        field.name: by_type.get(str(field.type), st.sampled_from(["op", "step", "table"]))
        for field in dataclasses.fields(kind)
        if field.name != "run"
    }


CASES = st.builds(Case, **fields_of(Case))
RESULTS = st.builds(Result, **fields_of(Result))


def case(number: int) -> Case:
    return Case(section="op", kind="gemm", layout="nt", precision="fp32", m=number)


def written(path: Path, *rows: Row) -> Path:
    with Record(path, device=DEVICE) as record:
        for row in rows:
            record.append(*row)
    return path


def rounded(result: Result, *, run: int) -> Result:
    """What a file can hold of a result: six digits."""
    digits: dict[str, Any] = {
        name: float(f"{value:.6g}")
        for name, value in dataclasses.asdict(result).items()
        if isinstance(value, float)
    }
    return dataclasses.replace(result, run=run, **digits)


@given(rows=st.lists(st.tuples(CASES, RESULTS), max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_appended_is_read_again(rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.unlink(missing_ok=True)
    written(path, *rows)
    assert read(path) == [(what, rounded(result, run=1)) for what, result in rows]


@pytest.mark.parametrize("note", ["a, b", 'a "b"', "µ × é", "\0", " ", "a\nb", "a\r\nb", "a\rb"])
def test_a_row_is_one_line_whatever_its_note(note: str, tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", (case(1), Result(note=note)), (case(2), Result()))
    assert [result.note.split() for _, result in read(path)] == [note.split(), []]
    assert path.read_bytes().count(b"\n") == 3


def test_the_file_is_plain_csv_with_one_column_for_each_field(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", (case(7), Result(median_ms=0.25, note='{"a": "b, c"}')))
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == COLUMNS
    assert (row["kind"], row["m"], row["median_ms"]) == ("gemm", "7", "0.25")
    assert json.loads(row["note"]) == {"a": "b, c"}


def test_a_line_torn_at_any_byte_costs_that_row_alone(tmp_path: Path) -> None:
    notes = ['{"x": "1, 2"}', "µ", 'a "quoted", word', "last"]
    whole = [(case(i), Result(note=note, run=1)) for i, note in enumerate(notes)]
    content = written(tmp_path / "whole.csv", *whole).read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    torn = tmp_path / "torn.csv"
    for size in range(ends[0], len(content) + 1):
        torn.write_bytes(content[:size])
        kept = whole[: sum(end <= size for end in ends) - 1]
        assert read(torn) == kept
        fresh = (case(99), Result())
        with Record(torn, device=DEVICE) as record:
            assert record.done == {what for what, _ in kept}
            record.append(*fresh)
        again = 1 if not kept else 2
        assert read(torn) == [*kept, (fresh[0], Result(run=again))]


def test_a_line_torn_within_its_note_is_left_out_whatever_the_note(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", (case(1), Result()), (case(2), Result(note="a\nb")))
    path.write_bytes(path.read_bytes()[:-2])
    assert [what for what, _ in read(path)] == [case(1)]


@pytest.mark.parametrize("size", [0, 1, 40])
def test_a_file_killed_within_its_first_line_starts_anew(size: int, tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", (case(1), Result()))
    path.write_bytes(path.read_bytes()[:size])
    assert read(path) == []
    assert read(written(path, (case(2), Result()))) == [(case(2), Result(run=1))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,c\n1,2,3\n", r"p.csv: is no profile of this version"),
        ("\ufeff".encode() + ",".join(COLUMNS).encode() + b"\n", r"p.csv: is no profile"),
        (b"\xff\xfe\n", r"p.csv: is no profile: .*utf-8"),
        (",".join(COLUMNS).encode() + b"\nop,gemm\n", r"p.csv:2: has 2 columns; must have"),
        (
            ",".join(COLUMNS).encode() + b"\n" + b",".join([b"x"] * len(COLUMNS)) + b"\n",
            r"p.csv:2: batch is 'x'; must be a number",
        ),
    ],
    ids=["another table", "byte order mark", "not text", "short row", "not a number"],
)
def test_what_is_no_profile_is_refused_and_left_as_it_is(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=message):
        read(path)
    with pytest.raises(StudyError, match=message):
        Record(path, device=DEVICE)
    assert path.read_bytes() == content


def test_a_file_of_another_device_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    frame = Case(section="run", kind="run")
    path = written(tmp_path / "p.csv", (frame, Result(note=json.dumps({"device": DEVICE}))))
    before = path.read_bytes()
    with pytest.raises(StudyError, match=r"holds measurements of a device, 4 threads; this is b"):
        Record(path, device="b")
    assert path.read_bytes() == before
    written(path, (case(1), Result()))  # and the refusal has let go of the file


def test_a_file_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    program = (
        "import sys\nfrom pathlib import Path\nfrom cost_models.profile.record import Record\n"
        f"with Record(Path(sys.argv[1]), device={DEVICE!r}):\n"
        "    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        before = path.read_bytes()
        with pytest.raises(StudyError, match=r"p.csv: is being written by another profile"):
            Record(path, device=DEVICE)
        assert path.read_bytes() == before
        writer.communicate("")
    assert writer.returncode == 0
    written(path, (case(1), Result()))


@pytest.mark.parametrize("place", ["folder", "file/p.csv", "file/sub/p.csv"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StudyError, match=f"{place}: (cannot be written|is no file)"):
        Record(tmp_path / place, device=DEVICE)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"none.csv: cannot be read: No such file"):
        read(tmp_path / "none.csv")


def append_many(record: Record) -> None:
    for number in range(1, 1000):
        record.append(case(number), Result(note="x" * 30))


def test_a_full_disk_is_an_error_that_names_the_file_and_keeps_every_row(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", (case(0), Result()))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = path.stat().st_size + 1000  # the next rows end somewhere in the middle of a line
    with Record(path, device=DEVICE) as record:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited[1]))
        try:
            with pytest.raises(StudyError, match=r"p.csv: cannot be written"):
                append_many(record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        kept = [what for what, _ in record.rows]
        assert len(kept) > 2
        assert [what for what, _ in read(path)] == kept
        record.append(case(1000), Result())
    assert [what for what, _ in read(path)] == [*kept, case(1000)]


def test_a_case_is_started_a_few_times_and_then_given_up(tmp_path: Path) -> None:
    """A record that is never closed is what a killed process leaves."""
    path = tmp_path / "p.csv"
    killer = [sys.executable, "-c", _START_AND_DIE, str(path)]
    for _ in range(MAX_STARTS):
        assert subprocess.run(killer, cwd=ROOT, check=False).returncode == -9
    with Record(path, device=DEVICE) as record:
        assert not record.starts(case(1))
        assert record.starts(case(2))


_START_AND_DIE = f"""
import os, signal, sys
from pathlib import Path
from cost_models.profile.record import Case, Record
record = Record(Path(sys.argv[1]), device={DEVICE!r})
assert record.starts({case(1)!r})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_ends_leaves_no_start_behind(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for _ in range(MAX_STARTS + 1):
        with Record(path, device=DEVICE) as record:
            assert record.starts(case(1))
    assert [file.name for file in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("marker", ["", "{", "[]", "null", '{"case": 3}'])
def test_a_torn_note_of_a_start_counts_as_none(marker: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv.running").write_text(marker)
    with Record(tmp_path / "p.csv", device=DEVICE) as record:
        assert record.starts(case(1))


@pytest.mark.parametrize("content", ["notes of mine, no newline", "hello", "{}"])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(StudyError, match=r"mine\.csv: is no profile"):
        Record(path, device=DEVICE)
    assert path.read_text() == content


def test_a_run_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    written(path, (Case(section="run", kind="run"), Result(note="not JSON")))
    with pytest.raises(StudyError, match="note is no JSON with a device: 'not JSON'"):
        Record(path, device=DEVICE)
