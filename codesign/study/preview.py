"""The trials that a study would launch next, without launching or recording any."""

from __future__ import annotations

from collections.abc import Iterator

from codesign.contracts import Proposer, TrialKind
from codesign.spec.problem import Problem, complete_baseline
from codesign.study.attempts import processes_of, sketched
from codesign.study.proposals import next_design
from codesign.study.state import StudyState, Trial, apply
from codesign.study.store import Event, EventKind


def next_trials(
    problem: Problem, proposer: Proposer, state: StudyState, most: int
) -> Iterator[Trial]:
    """Yield the next trials, each as if it had been submitted: the baseline first.

    Those that are open already count as running, and no result comes in meanwhile.
    """
    most = min(most, problem.spec.trials - len(state.searched))
    baseline = complete_baseline(problem)
    for _ in range(most):
        number = len(state.trials)
        first = baseline is not None and not any(t.kind == "baseline" for t in state.searched)
        kind: TrialKind = "baseline" if first else "search"
        design = baseline if first else next_design(problem, proposer, state)
        if design is None:
            return
        trial = sketched(problem, number, kind, design, None)
        state = _after(state, "created", number, trial)
        processes = processes_of(problem.spec, trial.get("system", {}))
        payload = {"attempt": 1, "token": "", "lost": 0, "processes": processes}
        state = _after(state, "submitted", number, payload)
        yield state.trials[number]


def _after(
    state: StudyState, kind: EventKind, trial: int, payload: dict[str, object]
) -> StudyState:
    event = Event(number=state.events + 1, time=0.0, kind=kind, trial=trial, payload=payload)
    return apply(state, event)
