"""What `codesign logs` shows of trials that ended, run, or wait in a queue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codesign import api
from codesign.errors import StudyError
from codesign.study.view import View
from tests.support.command import codesign
from tests.support.loops import until
from tests.support.studies import run
from tests.support.toy_cluster import cluster
from tests.support.toy_spec import write_spec

ONE_KNOB = {"width": {"low": 1, "high": 16}, "depth": 1}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials 0 and 1 fail with a bug, each on two ranks of which the second says why."""
    folder = tmp_path_factory.mktemp("ended")
    launch = {"workers": 1, "processes": 2, "max_bugs": 5}
    run(folder, space={**ONE_KNOB, "fate": "bug"}, search={"trials": 2, "proposer": "random"},
        launch=launch)  # fmt: skip
    return folder / "study"


def test_the_reason_comes_first_then_the_last_lines_of_each_process(ended: Path) -> None:
    lines = codesign("logs", ended, "1", "--tail", "3").stdout.splitlines()
    assert lines[0].startswith("trial 1, attempt 1 of 1: failed: bug: ")
    assert lines[0].endswith("ZeroDivisionError: a toy bug")
    folder = ended / "trials/0001/attempt-1"
    heads = [i for i, line in enumerate(lines) if line.startswith("== ")]
    assert [lines[i] for i in heads] == [f"== {folder}/log.txt", f"== {folder}/log-rank1.txt"]
    for head, name in zip(heads, ("log.txt", "log-rank1.txt"), strict=True):
        whole = (folder / name).read_text().splitlines()
        shown = whole[-3:]
        assert lines[head + 1 : head + 1 + len(shown)] == shown


def test_one_rank_alone_and_json_hold_the_same(ended: Path) -> None:
    told = json.loads(codesign("logs", ended, "0", "--rank", "1", "--tail", "1", "--json").stdout)
    path = ended / "trials/0000/attempt-1/log-rank1.txt"
    assert told["files"] == [{"path": str(path), "lines": path.read_text().splitlines()[-1:]}]
    assert (told["trial"], told["attempt"], told["failure"]) == (0, 1, "bug")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["7"], "has no trial 7\n  hint: trials: 0 to 1"),
        (["0", "--attempt", "4"], "has no attempt 4 at trial 0\n  hint: attempts: 1 to 1"),
        (["0", "--rank", "2"], "has no log of rank 2\n  hint: ranks: 0 to 1"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(
    ended: Path, arguments: list[str], said: str
) -> None:
    found = codesign("logs", ended, *arguments)
    assert found.returncode == 5
    assert said in found.stderr


def test_a_trial_is_followed_to_its_end(tmp_path: Path) -> None:
    study = tmp_path / "study"
    spec = write_spec(tmp_path, search={"trials": 1, "proposer": "random"},
                      launch={"executor": "tests.support.toy_cluster", "workers": 1})  # fmt: skip
    followers: list[subprocess.Popen[str]] = []
    log = study / "trials/0000/attempt-1/log.txt"

    def is_known() -> bool:
        return (study / "snapshot.jsonl").exists() and bool(api.status(study).running)

    def watch(view: View) -> None:
        ours = cluster(study)
        if not followers and 0 in ours.open and is_known():
            log.write_text("begins\n")
            command = [sys.executable, "-m", "codesign", "logs", str(study), "0", "--follow"]
            followers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            output = followers[0].stdout
            assert output is not None
            assert output.readline().startswith("trial 0, attempt 1 of 1: ")
            assert [output.readline(), output.readline()] == [f"== {log}\n", "begins\n"]
            with log.open("a") as file:
                file.write("goes on\n")
            assert output.readline() == "goes on\n"
            ours.finish(0)

    api.optimize(spec, study=study, watch=watch)
    until(lambda: followers[0].poll() is not None)
    assert followers[0].stdout is not None
    assert followers[0].stdout.read() == "trial 0, attempt 1 of 1: completed\n"


def test_a_study_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        api.logs(tmp_path, 0)
