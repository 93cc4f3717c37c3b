"""The commands of docs/slurm.md, one after the other, on a real cluster."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.studies import job_of, until
from tests.support.studies import state_of
from tests.support.toy_spec import write_spec

PAGE = (Path(__file__).parents[2] / "docs/slurm.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run_and_leave_the_files_that_it_names(
    idle: Cluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    launch = {"executor": "slurm", "workers": 4, "slurm": {"partition": "main"}}
    space = {"width": {"low": 1, "high": 16}, "fate": ["hangs"]}
    spec = write_spec(tmp_path, space=space, launch=launch)
    block = re.search(r"<!-- commands -->\n```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    assert block is not None
    for each in block[1].splitlines():
        line = each.replace("SPEC", str(spec)).replace("STUDY", str(study))
        words = shlex.split(line, comments=True)
        done = subprocess.run(
            [sys.executable, "-m", *words], env={**os.environ, **idle.environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
        if words[1] == "launch" and "--dry-run" not in words:
            until(lambda: len(list(study.glob("trials/*/*/log.txt"))) == 4)
    until(lambda: state_of(study).trials[3].status == "cancelled")
    until(lambda: idle.jobs()[job_of(study, 3)] == "CANCELLED")
    files = {path.name for path in study.glob("trials/0003/attempt-1/*.json")}
    named = set(re.findall(r"[\w-]+\.json", PAGE))
    assert {"job.json", "claim.json", "starts.json"} <= files & named
    assert (study / "queue.json").exists()
    assert list(study.glob("slurm/*_0_log.err"))
