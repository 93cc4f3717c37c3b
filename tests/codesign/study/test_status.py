"""How a study stands and what its table holds, of a study that has ended and one under way."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import polars
import pytest
import yaml

from codesign import api
from codesign.errors import ConfigError, StudyError
from codesign.study.folder import write_json
from codesign.study.lock import hold
from codesign.study.state import StudyState
from tests.support.command import codesign
from tests.support.studies import rewind, run, state_of

SPACE = {
    "width": {"low": 1, "high": 8},
    "depth": 1,
    "fate": ["completes", "diverges"],
    "form": ["a", "b"],
    "lr": {"low": 0.01, "high": 0.1, "when": {"form": "b"}, "points": 3},
}
SECTIONS = {
    "space": SPACE,
    "search": {"trials": 8, "proposer": "random", "confirm": {"top": 1, "seeds": 2}},
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyState]:
    folder = tmp_path_factory.mktemp("ended")
    return folder / "study", run(folder, **SECTIONS)


def test_the_status_of_a_study_that_has_ended_counts_its_trials(
    ended: tuple[Path, StudyState],
) -> None:
    study, state = ended
    found = api.status(study)
    failed = [t for t in state.trials.values() if t.failure == "diverged"]
    assert 0 < len(failed) < 8
    assert found.trials == {"completed": len(state.trials) - len(failed), "failed": len(failed)}
    assert (found.loop, found.owner, found.running, found.left_s) == ("none", None, (), None)
    assert found.ended == found.planned == len(state.trials)
    assert [f.trial for f in found.failures] == [t.number for t in failed]
    assert found.best is not None
    assert found.best.trial == api.report(study).content.best
    told = json.loads(codesign("status", study, "--json").stdout)
    assert told == json.loads(json.dumps(found.to_json()))
    lines = codesign("status", study).stdout.splitlines()
    assert lines[0] == "toy: has ended"
    assert f"{len(failed)} failed ({len(failed)} diverged)" in lines[1]
    assert f"failed   trial {failed[0].number}: diverged: the loss is nan" in lines


def test_a_trial_under_way_tells_its_share_and_the_time_left(
    tmp_path: Path, ended: tuple[Path, StudyState]
) -> None:
    study = tmp_path / "study"
    shutil.copytree(ended[0], study)
    last = len(ended[1].trials) - 1
    rewind(study, lambda e: (e.kind, e.trial) not in (("completed", last), ("failed", last)))
    said = {"done": 25.0, "total": 100.0, "metrics": {"log_loss": 0.5}, "seconds": 10.0}
    write_json(study / f"trials/{last:04d}/attempt-1/progress.json", said)
    with hold(study):
        found = api.status(study)
        lines = codesign("status", study).stdout.splitlines()
    (running,) = found.running
    assert (running.trial, running.share, running.left_s) == (last, 0.25, 30.0)
    assert found.ended == found.planned - 1
    seconds = sorted(t.seconds for t in state_of(study).trials.values() if t.seconds is not None)
    assert found.left_s is not None
    assert seconds[0] <= found.left_s <= seconds[-1]
    assert lines[0].startswith("toy: run by process ")
    assert f"running  trial {last}: 25%, about 30 s left, log_loss 0.5" in lines
    (study / f"trials/{last:04d}/attempt-1/progress.json").write_text("{")
    assert api.status(study).running[0].share is None
    lines = codesign("status", study).stdout.splitlines()
    assert lines[0].startswith("toy: nothing runs")
    assert lines[1].endswith(", 1 interrupted")
    assert not any(line.startswith("running") for line in lines)


def test_the_table_has_a_row_a_trial_in_every_format(
    tmp_path: Path, ended: tuple[Path, StudyState]
) -> None:
    study, state = ended
    table = list(csv.DictReader(io.StringIO(codesign("export", study).stdout)))
    assert [int(row["trial"]) for row in table] == list(state.trials)
    for row, trial in zip(table, state.trials.values(), strict=True):
        assert (row["status"], row["failure"]) == (trial.status, trial.failure or "")
        assert (int(row["design.width"]), row["design.form"]) == (
            trial.design["width"], trial.design["form"])  # fmt: skip
        assert (row["design.lr"] == "") == (trial.design["form"] == "a")
        assert float(row["cost.gflop_per_example"]) == trial.costs["gflop_per_example"]
        measured = trial.metrics.get("log_loss")
        assert row["measured.log_loss"] == ("" if measured is None else repr(measured))
        assert row["repeats"] == ("" if trial.of is None else str(trial.of))
    content = api.report(study).content
    assert [int(r["trial"]) for r in table if r["best"] == "true"] == [content.best]
    assert {int(r["trial"]) for r in table if r["on_front"] == "true"} == {
        t.number for t in content.front}  # fmt: skip
    frame = api.export(study)
    for name in ("t.csv", "t.json", "t.parquet"):
        done = codesign("export", study, "--out", tmp_path / name)
        assert (done.returncode, done.stdout) == (0, "")
    assert polars.read_parquet(tmp_path / "t.parquet").equals(frame)
    assert json.loads((tmp_path / "t.json").read_text()) == frame.to_dicts()
    assert json.loads(codesign("export", study, "--json").stdout) == frame.to_dicts()
    best = yaml.safe_load((study / "best.yaml").read_text())
    design = ("export", study, "--design", best["trial"])
    assert yaml.safe_load(codesign(*design).stdout) == best
    assert codesign(*design, "--out", study / "seven.yaml").stdout == ""
    assert yaml.safe_load((study / "seven.yaml").read_text()) == best
    assert "has no trial 99" in codesign("export", study, "--design", 99).stderr
    assert (tmp_path / "t.csv").read_text() == codesign("export", study).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.json", "t.parquet"]


def test_a_table_that_cannot_be_written_is_named(
    tmp_path: Path, ended: tuple[Path, StudyState]
) -> None:
    with pytest.raises(ConfigError, match=r"t\.xls: .* must be one of \.csv, \.json, \.parquet"):
        api.export(ended[0], out=tmp_path / "t.xls")
    with pytest.raises(StudyError, match=r"nowhere/t\.csv: cannot be written"):
        api.export(ended[0], out=tmp_path / "nowhere/t.csv")
    assert list(tmp_path.iterdir()) == []


def test_readers_change_nothing(ended: tuple[Path, StudyState]) -> None:
    before = {p: p.stat().st_mtime_ns for p in ended[0].rglob("*")}
    codesign("status", ended[0])
    codesign("export", ended[0])
    codesign("stop", ended[0])
    assert {p: p.stat().st_mtime_ns for p in ended[0].rglob("*")} == before
