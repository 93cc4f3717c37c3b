"""Studies at Weights & Biases, offline: runs are read back with the library's own command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from codesign import api
from codesign.errors import ConfigError, LaunchError, StudyError
from codesign.study.folder import StudyFolder
from codesign.tracking.follower import STUDY_EVERY_S
from codesign.tracking.logged import FOLDER, Logged, alone
from codesign.tracking.process import WAIT_S
from codesign.tracking.records import Kept
from codesign.tracking.wandb import Options, mode_of, require_whole, to_upload
from tests.support.command import codesign
from tests.support.studies import rewind, run
from tests.support.toy_spec import write_spec
from tests.support.wandb_runs import history, run_folders, summary, table

TRACKED = {"wandb": {"project": "toys", "tags": ["nightly"]}}
FATES = ["completes", "diverges", "dies_once"]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def write_curve(study: Path, trial: int, attempt: int, examples: list[int]) -> None:
    """Leave the curve that a training leaves: log loss 1 / examples."""
    lines = [
        json.dumps({"step": n // 10, "examples": n, "total_examples": 900, "train_log_loss": 1 / n})
        for n in examples
    ]
    folder = StudyFolder(study).attempt(trial, attempt)
    (folder / "curve.jsonl").write_text("\n".join([*lines, ""]))


def losses(study: Path, trial: int) -> list[tuple[int, float]]:
    """Step and log loss of every row that the runs of a trial hold, over all of their folders."""
    rows = [row for folder in run_folders(study, f"-{trial:04d}") for row in history(folder)]
    return [(row["_step"], row["train_log_loss"]) for row in rows]


def test_a_study_leaves_a_run_for_each_trial_and_one_for_itself(tmp_path: Path) -> None:
    space = {"fate": FATES, "width": {"low": 1, "high": 2}}
    confirm = {"top": 1, "seeds": 1}
    search = {"trials": 6, "proposer": "random", "confirm": confirm}
    state = run(tmp_path, space=space, search=search, tracking=TRACKED, budgets=None)
    study = tmp_path / "study"
    folders = {folder.name.rpartition("-")[2]: folder for folder in run_folders(study)}
    assert sorted(folders) == [*(f"{number:04d}" for number in range(7)), "study"]
    for trial in state.trials.values():
        found = summary(folders[f"{trial.number:04d}"])
        config, told = found["config"], found["summary"]
        assert config["design"] == trial.design
        assert (config["seed"], config["kind"]) == (trial.seed, trial.kind)
        assert (told["status"], told["failure"]) == (trial.status, trial.failure or "")
        assert (told["attempts"], told["reason"]) == (trial.attempt, trial.reason)
        assert found["state"] == ("failed" if trial.failure else "finished")
        assert set(found["tags"]) == {trial.kind, "nightly"}
        assert {name: told[name] for name in trial.costs} == trial.costs
        assert {name: told[name] for name in trial.metrics} == trial.metrics
    assert {t.attempt for t in state.trials.values()} == {1, 2}
    assert {t.failure for t in state.trials.values()} == {None, "diverged"}
    content = api.report(study).content
    rows = history(folders["study"])
    volumes = [row["hypervolume"] for row in rows if "hypervolume" in row]
    assert volumes == pytest.approx(content.hypervolume)
    front = table(folders["study"], "pareto_front")
    assert [row[0] for row in front["data"]] == [trial.number for trial in content.front]
    failures = table(folders["study"], "failures")["data"]
    assert failures == [
        [t.number, t.failure, t.reason] for t in state.trials.values() if t.failure is not None
    ]
    assert summary(folders["study"])["summary"]["failures_diverged"] == len(failures)
    chart = summary(folders["study"])["summary"]["pareto_front_chart"]["path"]
    drawn = json.loads((folders["study"] / "files" / chart).read_text())["data"]
    shown = next(trace for trace in drawn if trace["name"] == "Pareto front")
    assert len(shown["text"]) == len(content.front)


def test_a_run_of_which_any_byte_of_the_end_is_missing_is_not_taken_for_whole(
    tmp_path: Path,
) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"}, tracking=TRACKED)
    torn = tmp_path / "torn.wandb"
    for folder in run_folders(tmp_path / "study"):
        (file,) = folder.glob("*.wandb")
        require_whole(file)
        whole = file.read_bytes()
        for size in [*range(0, len(whole), 97), *range(len(whole) - 40, len(whole))]:
            torn.write_bytes(whole[:size])
            with pytest.raises(StudyError, match="its end is missing"):
                require_whole(torn, within_s=0.0)


def test_a_curve_over_two_attempts_has_every_point_once_whenever_it_is_logged(
    tmp_path: Path,
) -> None:
    state = run(tmp_path, space={"fate": ["dies_once"]}, search={"trials": 1, "proposer": "random"})
    assert state.trials[0].attempt == 2
    study = tmp_path / "study"
    write_curve(study, 0, 1, [100, 200, 300])
    write_curve(study, 0, 2, [100, 200, 300, 400])
    api.wandb_log(study)
    expected = [(n, 1 / n) for n in (100, 200, 300, 400)]
    assert losses(study, 0) == expected
    folders = run_folders(study)
    api.wandb_log(study)
    assert run_folders(study) == folders


def test_a_line_that_is_still_being_written_waits_for_its_end(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    study = tmp_path / "study"
    write_curve(study, 0, 1, [100, 200])
    path = StudyFolder(study).attempt(0, 1) / "curve.jsonl"
    path.write_text(path.read_text() + '{"step": 30, "examples": 30')
    api.wandb_log(study)
    assert [step for step, _ in losses(study, 0)] == [100, 200]


def start_follower(study: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the process that the loop starts."""
    return subprocess.Popen(
        [sys.executable, "-m", "codesign.tracking", str(study), "wandb"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_killed_follower_logs_nothing_twice_and_misses_nothing(tmp_path: Path) -> None:
    """Killed twice, once so many runs are kept; what it was writing then is half there."""
    run(tmp_path, search={"trials": 12, "proposer": "random"}, tracking=None)
    study = tmp_path / "study"
    for number in range(12):
        write_curve(study, number, 1, list(range(10, 600, 10)))
    for count in (1, 6):
        follower = start_follower(study)
        deadline = time.monotonic() + 60
        while len(logged(study)) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        follower.kill()
        follower.communicate()
        assert count <= len(logged(study)) < 13
    follower = start_follower(study)
    assert follower.communicate("")[0] == ""
    assert follower.returncode == 0
    for number in (0, 1, 3, 9, 11):
        assert losses(study, number) == [(n, 1 / n) for n in range(10, 600, 10)]
    assert len(run_folders(study)) == 13


def logged(study: Path) -> dict[str, Kept]:
    """What is kept of the study."""
    return dict(Logged(study / FOLDER / "logged.jsonl").all)


def test_a_trial_that_still_trains_is_shown_and_goes_on_in_later_rows(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    study = tmp_path / "study"
    whole = (study / "snapshot.jsonl").read_text()
    rewind(study, lambda event: event.kind in ("opened", "created", "submitted"))
    write_curve(study, 0, 1, [100, 200])
    api.wandb_log(study)
    assert [step for step, _ in losses(study, 0)] == [100, 200]
    (study / "snapshot.jsonl").write_text(whole)
    write_curve(study, 0, 1, [100, 200, 300])
    api.wandb_log(study)
    assert [step for step, _ in losses(study, 0)] == [100, 200, 300]
    assert summary(run_folders(study, "-0000")[-1])["summary"]["status"] == "completed"


@pytest.mark.parametrize("module", ["raise ImportError('none here')", "raise OSError(28, 'full')"])
def test_a_tracker_in_trouble_neither_stops_a_study_nor_says_so_twice(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "wandb.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", f"{broken}:{Path.cwd()}")
    said: list[str] = []
    result = api.optimize(
        write_spec(tmp_path, tracking=TRACKED), study=tmp_path / "study", say=said.append
    )
    assert len(result.content.front) > 0
    told = [line for line in said if "wandb" in line]
    assert len(told) == 1, said
    assert "follower.log" in told[0]
    assert "codesign wandb log" in told[0]


def test_runs_that_a_tracker_refuses_are_counted_and_logged_when_it_is_mended(
    tmp_path: Path,
) -> None:
    run(tmp_path, search={"trials": 2, "proposer": "random"})
    study = tmp_path / "study"
    curve = StudyFolder(study).attempt(1, 1) / "curve.jsonl"
    curve.write_text('{"examples": "many"}\n')
    with pytest.raises(LaunchError, match="1 runs could not be logged"):
        api.wandb_log(study)
    assert len(logged(study)) == 2
    curve.unlink()
    assert api.wandb_log(study) == 3


def test_two_processes_do_not_log_one_study(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    study = tmp_path / "study"
    with (
        alone(study / FOLDER, wait=False),
        pytest.raises(StudyError, match="by another process"),
    ):
        api.wandb_log(study)


def test_only_whole_runs_that_no_server_has_are_uploaded(tmp_path: Path) -> None:
    names = ["offline-run-2-b", "offline-run-1-a", "offline-run-3-c", "run-4-d"]
    for name in names:
        (tmp_path / FOLDER / name).mkdir(parents=True)
    (tmp_path / FOLDER / names[0] / "run-b.wandb.synced").touch()
    kept = [Kept(folders=(names[0], names[1])), Kept(folders=(names[3],))]
    assert [path.name for path in to_upload(tmp_path, kept)] == ["offline-run-1-a"]


def test_uploading_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    with pytest.raises(ConfigError, match="WANDB_API_KEY"):
        api.wandb_sync(tmp_path / "study")


@pytest.mark.parametrize(
    ("asked", "environment", "key", "expected"),
    [
        ("auto", "", "", "offline"),
        ("auto", "", "secret", "online"),
        ("auto", "offline", "secret", "offline"),
        ("offline", "online", "secret", "offline"),
        ("online", "offline", "secret", "online"),
        ("online", "", "", "a refusal"),
    ],
)
def test_runs_go_online_where_a_key_is_at_hand(
    asked: Any, environment: str, key: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    for name, value in (("WANDB_MODE", environment), ("WANDB_API_KEY", key)):
        if value:
            monkeypatch.setenv(name, value)
    try:
        found = mode_of(Options(project="toys", mode=asked))
    except ConfigError:
        found = "a refusal"
    assert found == expected


def test_a_key_in_the_netrc_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    assert mode_of(Options(project="toys")) == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert mode_of(Options(project="toys")) == "offline"


def test_workspace_and_report_show_the_objectives_of_this_study_alone(tmp_path: Path) -> None:
    run(tmp_path, search={"trials": 2, "proposer": "random"}, tracking=TRACKED)
    with pytest.raises(ConfigError, match="--entity"):
        api.wandb_report(tmp_path / "study")
    found = api.wandb_report(tmp_path / "study", entity="ours").to_json()
    for view in found.values():
        text = json.dumps(view)
        for part in ("summary:gflop_per_example", "summary:log_loss", "hypervolume", "toy"):
            assert part in text
    assert found["workspace"]["entity"] == "ours"


def test_the_page_about_weights_and_biases_names_what_runs_hold(tmp_path: Path) -> None:
    """Its commands run, and every file and name of the summary that it lists is there."""
    page = (Path(__file__).parents[3] / "docs" / "wandb.md").read_text(encoding="utf-8")
    run(tmp_path, search={"trials": 1, "proposer": "random"})
    study = tmp_path / "study"
    commands = re.findall(r"^    codesign (wandb .*)$", page, flags=re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["sync", "log", "report"]
    done = {}
    for command in sorted(commands):
        words = [str(study) if word == "STUDY" else word for word in command.split()]
        done[words[1]] = codesign(*words)
    assert done["log"].returncode == 0, done["log"].stderr
    assert done["log"].stdout == f"2 runs are logged in {study / 'wandb'}\n"
    for name in ("sync", "report"):
        assert done[name].returncode == ConfigError.exit_code
        assert "WANDB_API_KEY" in done[name].stderr
    assert "STUDY/wandb/logged.jsonl" in page
    assert (study / FOLDER / "logged.jsonl").exists()
    found = summary(run_folders(study, "-0000")[0])
    for name in ("status", "failure", "reason", "attempts", "lost_attempts", "gpu_hours", "wall_s"):
        assert f"`{name}`" in page
        assert name in found["summary"]
    for name in ("design", "model", "data", "seed", "exact_counts"):
        assert f"`{name}`" in page
        assert name in found["config"]
    assert f"up to {WAIT_S:g} s" in " ".join(page.split())
    assert f"every {STUDY_EVERY_S:g} s" in page
