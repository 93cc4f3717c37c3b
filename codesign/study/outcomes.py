"""What an attempt's outcome is worth to a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from codesign.contracts import Objective, Outcome
from codesign.study.state import Trial


def checked(outcome: Outcome, trial: Trial, objectives: Sequence[Objective]) -> Outcome:
    """Return a failure instead where a completed trial lacks a finite value of an objective."""
    if outcome.failure is not None:
        return outcome
    found = {**trial.costs, **trial.predicted, **outcome.metrics}
    names = [objective.name for objective in objectives]
    missing = [name for name in names if name not in found]
    if missing:
        reason = f"the task reported no {', '.join(missing)}"
        return dataclasses.replace(outcome, failure="bug", reason=reason)
    # JSON has no NaN: a value that was not finite comes back as None.
    wild = [name for name in names if found[name] is None]
    if wild:
        reason = f"{', '.join(wild)} is not finite"
        return dataclasses.replace(outcome, failure="diverged", reason=reason)
    return outcome
