from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launch.slurm.client import SEPARATOR, Seen, environment, read_accounts, read_queue
from launch.slurm.ends import KINDS, is_over

# What SLURM prints of a job; neither holds the separator.
WORD = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_[]-,.:() ", max_size=20)
IDS = st.integers(1, 10**8).map(str) | st.tuples(st.integers(1, 10**8), st.integers(0, 999)).map(
    lambda pair: f"{pair[0]}_{pair[1]}"
)
STATES = st.sampled_from([*KINDS, "PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"])


@given(st.dictionaries(IDS, st.tuples(STATES, WORD, WORD, WORD)))
def test_every_line_of_squeue_is_read_whatever_its_fields_hold(
    jobs: dict[str, tuple[str, str, str, str]],
) -> None:
    text = "\n".join(SEPARATOR.join((job, *fields)) for job, fields in jobs.items())
    expected = {
        job: Seen(job=job, state=state, nodes=nodes, reason=reason, mark=mark)
        for job, (state, nodes, reason, mark) in jobs.items()
        if reason != "None"
    }
    assert {job: seen for job, seen in read_queue(text).items() if job in expected} == expected


def test_a_comment_of_several_lines_or_with_the_separator_hides_no_job() -> None:
    text = "12_3|RUNNING|n[1-2]|None|a|b\nsecond line | of that comment\n14|PENDING||Priority|c\n"
    assert read_queue(text) == {
        "12_3": Seen(job="12_3", state="RUNNING", nodes="n[1-2]", mark="a|b"),
        "14": Seen(job="14", state="PENDING", reason="Priority", mark="c"),
    }


def test_accounting_tells_who_cancelled_a_job_and_it_is_over() -> None:
    text = "7_0|CANCELLED by 1000|None assigned|s.0-3.k\n9|RUNNING|n2|x\n"
    found = read_accounts(text)
    assert found["7_0"] == Seen(job="7_0", state="CANCELLED", reason="by 1000", mark="s.0-3.k")
    assert is_over(found["7_0"].state)
    assert not is_over(found["9"].state)


def test_no_job_inherits_what_the_job_of_its_loop_was_told() -> None:
    inherited = {
        "SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SBATCH_PARTITION": "loops", "RANK": "0",
        "SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin", "SLURM_ARRAY_TASK_ID": "3",
    }  # fmt: skip
    assert environment(inherited) == {"SLURM_CONF": "/etc/slurm.conf", "PATH": "/bin"}
