"""What a running study shows on a terminal, and without one."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from codesign import api
from codesign.cli.live import ROWS, Live, table_of
from codesign.contracts import Outcome
from codesign.study.folder import write_json
from codesign.study.view import View
from tests.support.command import codesign
from tests.support.toy_cluster import cluster
from tests.support.toy_spec import write_spec

TRIALS = 40


def crowded(folder: Path, live: Live) -> View:
    """Run a study of many jobs: one ended, one failed, one half way; all others wait."""
    study, last = folder / "study", list[View]()
    launch = {"executor": "tests.support.toy_cluster", "workers": TRIALS}
    spec = write_spec(folder, search={"trials": TRIALS, "proposer": "random"}, launch=launch)
    ours = cluster(study)

    def watch(view: View) -> None:
        live.update(view)
        if len(view.queue.jobs) == TRIALS:
            ours.finish(0)
            ours.end(1, Outcome(failure="cancelled", reason="by somebody"))
            said = {"done": 5.0, "total": 10.0, "seconds": 30.0, "metrics": {"log_loss": 0.75}}
            write_json(study / "trials/0002/attempt-1/progress.json", said)
            ours.start(2)
        elif len(view.queue.jobs) == TRIALS - 2 and view.queue.jobs[2].nodes:
            last.append(view)
            raise KeyboardInterrupt

    api.optimize(spec, study=study, watch=watch, say=live.say)
    return last[0]


def shown(view: View) -> list[str]:
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=140)
    screen.print(table_of(view, [t for t in view.state.trials.values() if not t.open]))
    assert isinstance(screen.file, io.StringIO)
    return [" ".join(line.split()) for line in screen.file.getvalue().splitlines()]


def test_the_table_holds_the_trials_at_work_then_those_that_wait_and_counts_the_rest(
    tmp_path: Path,
) -> None:
    with Live(Console(file=io.StringIO())) as live:
        view = crowded(tmp_path, live)
    lines = shown(view)
    assert len(lines) == ROWS + 3
    assert lines[0].startswith("trial 2 ━")
    assert lines[0].endswith("50% 30 s left 1002 RUNNING n1 log_loss 0.75")
    assert lines[1] == "trial 3 1003 PENDING Priority"
    assert lines[ROWS] == f"2 of {TRIALS} trials ended failed: 1 cancelled"
    assert lines[ROWS + 1].startswith("best: trial 0 log_loss 0.")
    assert lines[ROWS + 2] == f"1 running, 37 waiting, of which {ROWS} are shown"


def test_without_a_terminal_there_is_a_line_for_each_end_and_one_for_the_queue(
    tmp_path: Path,
) -> None:
    out = io.StringIO()
    with Live(Console(file=out, width=80)) as live:
        crowded(tmp_path, live)
    lines = out.getvalue().splitlines()
    assert f"queue: {TRIALS} PENDING (Priority)" in lines
    assert sum(line.startswith("queue: ") for line in lines) == 1, "once a minute at most"
    assert any(line.startswith(f"[2/{TRIALS}] trial 1 failed: cancelled: by") for line in lines)
    assert len(lines) <= 6


def test_scripts_can_read_a_line_for_each_trial_that_ends(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, search={"trials": 3, "proposer": "random"})
    done = codesign("optimize", spec, "--study", tmp_path / "study", "--json-lines")
    *trials, last = map(json.loads, done.stdout.splitlines())
    assert [each["trial"]["number"] for each in trials] == [0, 1, 2]
    assert {each["trial"]["status"] for each in trials} == {"completed"}
    assert last["folder"] == str(tmp_path / "study")
