"""Begin a study with what earlier ones measured: their trials enter as those of related tasks.

Unlike a fork (`study.fork`), which takes over trials that this study could have trained itself, a
warm start takes over no trial. The earlier study may be of other data and of other fixed settings;
its trials stand for their nearest designs of this space, and the proposer learns how much they
tell. What was read is recorded, so the earlier study is needed once only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codesign.contracts import Design, Task
from codesign.designs import as_columns
from codesign.errors import ConfigError, StudyError
from codesign.metrics import split_name
from codesign.registry import task_family
from codesign.spec.lattice import make_space
from codesign.spec.problem import Problem
from codesign.study.earlier import says_something, setting_of, task_as_set
from codesign.study.folder import StudyFolder
from codesign.study.nearest import nearest_design
from codesign.study.recorded import RecordedStudy, read_study
from codesign.study.state import EarlierStudy, Trial, fold
from codesign.study.store import Store

MOST_OBSERVATIONS = 300
"""Of one study; more are thinned evenly over the order in which its trials began."""


def warm_start(
    problem: Problem, folder: StudyFolder, store: Store, *, now: float
) -> tuple[EarlierStudy, ...]:
    """Read the studies of `search.warm_start` and record what they tell, unless that was done.

    Args:
        folder, store: of the new study.
        now: seconds since the epoch, for the record.

    Returns:
        What was read now; it stands in the new study's state.

    Raises:
        StudyError: one of them is no study, of another model family, or has no trial that says
            anything of this study's objectives and space; nothing is recorded then.
    """
    origins = [Path(path) for path in problem.spec.search.warm_start]
    if not origins or fold(store.events()).earlier:
        return ()
    payloads: list[dict[str, Any]] = []
    for origin in origins:
        if origin.resolve() == folder.path.resolve():
            raise StudyError("is this very study", where=str(origin), hint="name an earlier one")
        names = {payload["name"] for payload in payloads}
        payloads.append(_read(problem, read_study(origin), names))
    with store.together():
        for payload in payloads:
            store.append("warm_started", None, payload, time=now)
    return fold(store.events()).earlier


def _read(problem: Problem, old: RecordedStudy, names: set[str]) -> dict[str, Any]:
    """Return what is recorded of an earlier study; `names` are those of the studies before it."""
    theirs, mine = old.spec.model["name"], problem.spec.model["name"]
    if theirs != mine:
        raise _useless(old, f"searches {theirs}, and this study {mine}")
    learned = _learned(problem)
    trials = [t for t in old.state.of_kind("baseline", "search") if says_something(t)]
    if not any(t.status == "completed" and t.metrics.keys() >= set(learned) for t in trials):
        measured = dict.fromkeys(name for trial in trials for name in trial.metrics)
        raise _useless(
            old,
            f"has no trial that measured {' and '.join(learned)}; "
            f"its trials measured {', '.join(measured) or 'nothing'}",
        )
    designs, left_out = _placed(problem, old, trials, learned)
    if paused := sum(t.status == "paused" for t in old.state.of_kind("baseline", "search")):
        left_out["paused on the way"] = paused
    if not designs:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        raise _useless(old, f"has no trial near a design of this space ({reasons})")
    kept = [i * len(designs) // MOST_OBSERVATIONS for i in range(MOST_OBSERVATIONS)]
    if len(designs) > MOST_OBSERVATIONS:
        left_out[f"more than {MOST_OBSERVATIONS}"] = len(designs) - MOST_OBSERVATIONS
        designs = [designs[i] for i in kept]
    return {
        "name": _fresh(old.spec.name, names),
        "folder": str(old.folder.path),
        "observations": _observations(problem, designs, learned),
        "left_out": dict(left_out),
    }


def _placed(
    problem: Problem, old: RecordedStudy, trials: Sequence[Trial], learned: Sequence[str]
) -> tuple[list[tuple[Trial, Design]], Counter[str]]:
    """Return trials with their designs in the new space, and how many have none by reason."""
    try:
        task = task_as_set(problem, old.spec.model, old.spec.train)
    except ConfigError as error:
        raise _useless(old, f"has settings that these data do not allow: {error.what}") from error
    searched = _searched_there_only(problem, old)
    placed: list[tuple[Trial, Design]] = []
    left_out: Counter[str] = Counter()
    for trial in trials:
        if trial.failure is None and not trial.metrics.keys() >= set(learned):
            left_out[f"not measured {' and '.join(learned)}"] += 1
            continue
        settings = task.settings(trial.design)
        design = nearest_design(settings, problem.space, problem.task)
        if isinstance(design, str):
            left_out[design] += 1
        elif differing := _fixed_otherwise(searched, trial, settings, problem.task, design):
            left_out[f"{differing} is fixed here at another value"] += 1
        else:
            placed.append((trial, design))
    return placed, left_out


def _searched_there_only(problem: Problem, old: RecordedStudy) -> list[str]:
    """Return the knobs that have several levels in the old study, and one in the new."""
    family = task_family(old.spec.model["name"])
    levels = make_space(old.spec.space, old.spec.model, family).levels
    here = {_base(name) for name, found in problem.space.levels.items() if len(found) > 1}
    return [name for name, found in levels.items() if len(found) > 1 and _base(name) not in here]


def _fixed_otherwise(
    searched: Sequence[str],
    trial: Trial,
    settings: Mapping[str, Any],
    task: Task,
    design: Design,
) -> str:
    """Name a knob that the old study searched, whose value the new study has fixed at another.

    Such trials would all stand for the same design. What neither searches may differ: that is
    what makes the other study's task another one.
    """
    here = task.settings(design)
    for name in searched:
        if name not in trial.asleep and setting_of(name, settings) != setting_of(name, here):
            return name
    return ""


def _observations(
    problem: Problem, designs: Sequence[tuple[Trial, Design]], learned: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the fields of each observation: what was learned there, and what it costs here."""
    costs = problem.task.costs(as_columns([design for _, design in designs]))
    found = []
    for row, (trial, design) in enumerate(designs):
        counted = {name: float(values[row]) for name, values in costs.items()}
        measured = {name: trial.metrics[name] for name in learned if trial.failure is None}
        metrics = {**counted, **measured} if trial.failure is None else {}
        found.append({"design": dict(design), "metrics": metrics, "failure": trial.failure})
    return found


def _learned(problem: Problem) -> list[str]:
    known = problem.task.metrics
    names = [o.metric for o in problem.spec.objectives]
    return [name for name in names if known[split_name(name)[0]].source == "learned"]


def _base(axis: str) -> str:
    return axis.partition("[")[0].partition(".")[0]


def _fresh(name: str, names: set[str]) -> str:
    """Return the name, numbered where an earlier study before it has the same."""
    numbered = (f"{name} ({number})" for number in range(2, len(names) + 2))
    return name if name not in names else next(each for each in numbered if each not in names)


def _useless(old: RecordedStudy, what: str) -> StudyError:
    return StudyError(
        what,
        where=str(old.folder.path),
        hint="take it out of search.warm_start, or name another study",
    )
