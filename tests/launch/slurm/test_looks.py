from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.contracts import Job, LaunchRequest
from launch.slurm.client import Client, NoAnswerError, RefusedError, Seen
from launch.slurm.looks import Looks, Outage
from launch.slurm.options import Options
from launch.slurm.submission import ARRIVES_WITHIN_S, FULL_QUEUE_S, Submitter


class Controller(Client):
    """What a controller does to those who ask, on a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.takes_s = 0.0
        self.asked_at_s: list[float] = []
        self.heard: list[str] = []
        self.said: list[str] = []
        self.answers: list[Exception | None] = []

    def clock(self) -> float:
        return self.now_s

    def queue(self) -> dict[str, Seen]:
        self.asked_at_s.append(self.now_s)
        self.now_s += self.takes_s
        return {str(i): Seen(job=str(i), state="PENDING", mark=key)
                for i, key in enumerate(self.heard)}  # fmt: skip

    def find(self, key: str, *, since: float) -> dict[str, Seen]:
        return {job: seen for job, seen in self.queue().items() if seen.mark == key}

    def submit(self, script: Path) -> str:
        answer = self.answers.pop(0) if self.answers else None
        if not isinstance(answer, RefusedError):
            self.heard.append(script.stem)
        if answer is not None:
            raise answer
        return str(len(self.heard) - 1)


@given(takes_s=st.floats(0, 20))
def test_looks_take_a_twentieth_of_the_time_at_most_and_come_within_half_a_minute(
    takes_s: float,
) -> None:
    controller = Controller()
    controller.takes_s = takes_s
    looks = Looks(controller, controller.clock, lambda _: None)
    for _ in range(200):
        looks.next([], 5.0)
        controller.now_s += 0.5
    pauses_s = [
        after - before - takes_s
        for before, after in zip(controller.asked_at_s, controller.asked_at_s[1:], strict=False)
    ]
    least_s = min(30.0, max(1.0, 20 * takes_s))
    assert all(least_s - 1e-6 <= pause_s <= least_s + 1 for pause_s in pauses_s)


def test_an_outage_is_said_once_and_its_end_once() -> None:
    said: list[str] = []
    outage = Outage(said.append)
    outage.ended()
    for why in ("refused", "timed out"):
        outage.began(why)
    assert outage.line.endswith(": refused")
    outage.ended()
    outage.ended()
    assert [line.split(",")[0] for line in said] == ["SLURM does not answer", "SLURM answers again"]


def submitter(folder: Path, controller: Controller) -> Submitter:
    """Return one that has a job to submit."""
    (folder / "attempt-1").mkdir()
    request = LaunchRequest(study=folder, name="s", say=controller.said.append)
    made = Submitter(request, Options(), controller, study=folder, clock=controller.clock)
    made.take([Job(trial=0, attempt=1, folder=folder / "attempt-1")])
    return made


@pytest.mark.parametrize("heard", [True, False])
def test_a_request_without_an_answer_is_looked_up_before_it_is_made_again(
    tmp_path: Path, heard: bool
) -> None:
    controller = Controller()
    controller.answers = [NoAnswerError("timed out")]
    sender = submitter(tmp_path, controller)
    with pytest.raises(NoAnswerError):
        list(sender.send())
    if not heard:
        controller.heard.clear()
    assert list(sender.send()) == [], "what was on its way may still arrive"
    controller.now_s += ARRIVES_WITHIN_S
    ((job, number),) = sender.send()
    assert (job.trial, number, len(controller.heard)) == (0, "0", 1)


def test_a_full_queue_is_said_once_and_tried_again(tmp_path: Path) -> None:
    controller = Controller()
    full = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Job violates policy"
    controller.answers = [RefusedError(full), RefusedError(full)]
    sender = submitter(tmp_path, controller)
    for _ in range(2):
        assert list(sender.send()) == []
        controller.now_s += FULL_QUEUE_S
    assert [job.trial for job, _ in sender.send()] == [0]
    assert len(controller.said) == 1
