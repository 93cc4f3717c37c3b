"""The best system for each number of devices: all of them where they are few, else evolved.

One evaluation is of all batches; see `cost_models.planner.evaluate`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign.contracts import Prediction
from cost_models.planner.evaluate import Evaluated, Evaluator
from cost_models.planner.evolution import evolve
from cost_models.planner.system import Choices, System

MOST_EVALUATIONS = 400
# More than the logarithm of any figure that is minimized.
_BEYOND_BUDGETS = 1e3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One system.

    Attributes:
        figures: name → prediction; see `Evaluated`.
        over: budget → factor by which the worse end of the interval passes it.
        loss: what is minimized: the logarithm of a figure within the budgets; without them more
            than that, and more the further beyond.
    """

    system: System
    figures: Mapping[str, Prediction]
    over: Mapping[str, float]
    loss: float

    @property
    def within_budgets(self) -> bool:
        """Whether the worse ends of all intervals keep their budgets."""
        return max(self.over.values()) <= 1

    @property
    def tightest(self) -> str:
        """The budget that is nearest to its limit, or furthest beyond."""
        return max(self.over, key=lambda name: self.over[name])


def best_by_devices(
    evaluator: Evaluator,
    *,
    most_evaluations: int = MOST_EVALUATIONS,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> dict[int, Candidate]:
    """Find the best system for each number of devices; among equals the plainest.

    Args:
        most_evaluations: as long as there are no more, all systems are looked at.
        say: called with a line for a person for each number of devices.

    Returns:
        Devices → the best within the budgets, or the one that is least beyond them; without the
        numbers of devices that no choice is possible for.
    """
    workload, request = evaluator.workload, evaluator.request
    choices = Choices.of(workload.base, **request.choices)
    most = max(evaluator.batch_sizes)
    counts = [devices for devices in request.devices if devices <= most]
    fields = {
        devices: choices.fields(devices, workload.base, evaluator.hardware) for devices in counts
    }
    few = sum(_combinations(each) for each in fields.values()) <= most_evaluations
    share = most_evaluations // max(len(counts), 1)
    found = {}
    for devices, values in fields.items():
        say(f"systems of {devices:,} devices, of {max(counts):,} at most")
        if not _combinations(values):
            continue
        seen = _Seen(evaluator, choices, devices, values)
        if few or _combinations(values) <= share:
            for combination in itertools.product(*values.values()):
                seen.loss(dict(zip(values, combination, strict=True)))
        else:
            evolve(values, seen.loss, most_evaluations=max(share, 1), seed=seed)
            seen.try_single_changes()
        found[devices] = seen.best
    return found


def _combinations(fields: Mapping[str, Sequence[Any]]) -> int:
    return math.prod(len(values) for values in fields.values())


class _Seen:
    """Evaluates systems of so many devices, each once, and keeps the best.

    Args:
        fields: what may be chosen, the plainest values first: of equals, the plainest is best.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        choices: Choices,
        devices: int,
        fields: Mapping[str, Sequence[Any]],
    ) -> None:
        self._evaluator, self._choices, self._devices = evaluator, choices, devices
        self._fields = fields
        self._found: dict[tuple[int, ...], Candidate] = {}

    @property
    def best(self) -> Candidate:
        """Of those evaluated."""
        return self._found[self._best_places]

    @property
    def _best_places(self) -> tuple[int, ...]:
        """Of each of its values, the place among those of its field."""
        return min(self._found, key=lambda at: (self._found[at].loss, sum(at), at))

    def try_single_changes(self) -> None:
        """Change one choice of the best at a time, until no change makes it better or plainer."""
        tried = None
        while tried != self._best_places:
            tried = self._best_places
            best = {
                name: values[at]
                for (name, values), at in zip(self._fields.items(), tried, strict=True)
            }
            for name, values in self._fields.items():
                for value in values:
                    self.loss({**best, name: value})

    def loss(self, settings: Mapping[str, Any]) -> float:
        """Evaluate, and return the least loss over all batches."""
        settings = self._choices.canonical(settings)
        places = tuple(self._fields[name].index(value) for name, value in settings.items())
        if places not in self._found:
            evaluated = self._evaluator.evaluate(self._devices, settings)
            minimize = self._evaluator.request.minimize
            self._found[places] = best_of(evaluated, minimize=minimize)
        return self._found[places].loss


def best_of(found: Evaluated, *, minimize: str) -> Candidate:
    """Return the best of systems that differ in the batch alone."""
    over = found.worst_over
    beyond = _BEYOND_BUDGETS + np.log(over)
    losses = np.where(over <= 1, np.log(found.figures[minimize].value), beyond)
    row = int(np.argmin(losses))
    return Candidate(
        system=found.systems[row],
        figures={name: columns[row] for name, columns in found.figures.items()},
        over={name: float(factors[row]) for name, factors in found.over.items()},
        loss=float(losses[row]),
    )


def on_front(found: Sequence[Candidate]) -> list[bool]:
    """Say of each whether no other within its budgets takes no more hours and no more GPU-hours.

    Equal ones count once, the first.
    """
    points = [
        (each.figures["hours"].value, each.figures["gpu_hours"].value)
        if each.within_budgets
        else (math.inf, math.inf)
        for each in found
    ]
    return [
        math.isfinite(hours)
        and not any(
            other[0] <= hours and other[1] <= gpu_hours and (other != (hours, gpu_hours) or at < i)
            for at, other in enumerate(points)
            if at != i
        )
        for i, (hours, gpu_hours) in enumerate(points)
    ]
