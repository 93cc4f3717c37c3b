from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from codesign.contracts import Job
from launch.slurm.batch import NOBODY, Batch, Ticket, batch_file, claim, claimed_by, read_entry

CLAIMS = "import sys; from launch.slurm.batch import claim; from pathlib import Path; "
CLAIMS += "sys.stdin.read(1); print(claim(Path(sys.argv[1]), sys.argv[2]))"


def test_of_many_jobs_that_claim_a_folder_at_once_one_has_it(tmp_path: Path) -> None:
    rivals = [
        subprocess.Popen([sys.executable, "-c", CLAIMS, str(tmp_path), f"{number}"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(6)
    ]  # fmt: skip
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("x")
        rival.stdin.flush()
    owners = {rival.communicate()[0].strip() for rival in rivals}
    assert owners == {claimed_by(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == ["claim.json"]


def test_a_folder_that_a_loop_gave_up_is_nobodys_for_good(tmp_path: Path) -> None:
    assert claimed_by(tmp_path) == ""
    assert claim(tmp_path) == NOBODY
    assert claim(tmp_path, "7_0") == NOBODY


def test_the_owner_claims_again_after_a_requeue(tmp_path: Path) -> None:
    assert claim(tmp_path, "7_0") == "7_0"
    assert claim(tmp_path, "8_0") == "7_0"
    assert claim(tmp_path, "7_0") == "7_0"


def batch(study: Path, count: int) -> Batch:
    jobs = []
    for trial in range(count):
        folder = study / "trials" / f"{trial:04d}" / "attempt-1"
        folder.mkdir(parents=True)
        jobs.append(Job(trial=trial, attempt=1, folder=folder, timeout_s=60.0, starts=trial + 1))
    return Batch.of(jobs)


def test_all_that_a_job_reads_is_there_before_sbatch_is_called(tmp_path: Path) -> None:
    made = batch(tmp_path, 3)
    made.write(tmp_path)
    for index, job in enumerate(made.jobs):
        entry = read_entry(batch_file(tmp_path, made.key), index)
        assert (entry.folder, entry.timeout_s, entry.starts) == (str(job.folder), 60.0, index + 1)
        assert Ticket.read(job.folder) == Ticket(key=made.key, index=index)
    made.note("123")
    tickets = [Ticket.read(job.folder) for job in made.jobs]
    assert [ticket.job for ticket in tickets if ticket] == ["123_0", "123_1", "123_2"]


def test_a_single_job_is_no_array(tmp_path: Path) -> None:
    made = batch(tmp_path, 1)
    made.write(tmp_path)
    made.note("124")
    assert json.loads((made.jobs[0].folder / "job.json").read_text())["job"] == "124"
