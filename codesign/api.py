"""What the command line and a notebook call; each function is one command.

Heavy packages are imported by the functions that need them.
"""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign import __version__
from codesign.errors import StudyError
from codesign.registry import plugin

if TYPE_CHECKING:
    from codesign.contracts import Outcome, Progress, Proposer
    from codesign.report.content import ReportContent
    from codesign.spec.meaning import Problem
    from codesign.spec.model import StudySpec
    from codesign.study.folder import StudyFolder
    from codesign.study.loop import View

PAGE_EVERY_S = 10.0
# The packages whose versions stand with every result.
RECORDED_PACKAGES = ("torch", "torchrec", "ax-platform", "botorch", "numpy")


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study that has run to its end, or was interrupted."""

    folder: Path
    content: ReportContent
    interrupted: bool = False


def optimize(
    spec_path: str | Path,
    *,
    study: str | Path | None = None,
    overrides: Sequence[str] = (),
    data_path: str | None = None,
    watch: Callable[[View], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> StudyResult:
    """Run a study, or continue the one in its folder; Ctrl-C leaves it ready to be continued.

    Args:
        study: the study's folder; default `studies/NAME`.
        overrides, data_path: see `load_problem`.
        watch: called a few times a second with what is going on.
        say: called with a line for a person at each stage.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.spec.meaning import load_problem
    from codesign.study.folder import StudyFolder
    from codesign.study.loop import StudyLoop
    from codesign.study.store import Store

    problem = load_problem(spec_path, overrides=overrides, data_path=data_path)
    folder = StudyFolder(Path(study) if study else Path("studies") / problem.spec.name)
    with folder.locked():
        adopt_spec(problem.spec, folder, overrides)
        say(describe_space(problem))
        executor = plugin("executor", problem.spec.launch.executor).make(
            workers=problem.spec.launch.workers
        )
        try:
            proposer = make_proposer(problem.spec)
            with Store(folder.store) as store:
                page = _Page(problem, folder)
                loop = StudyLoop(
                    problem, folder, store, executor, proposer,
                    watch=_both(watch, page.refresh),
                )  # fmt: skip
                interrupted = False
                try:
                    loop.run(provenance())
                except KeyboardInterrupt:
                    interrupted = True
                finally:
                    executor.close()
                    content = page.write(loop.state)
        finally:
            executor.close()
    return StudyResult(folder=folder.path, content=content, interrupted=interrupted)


def report(study: str | Path) -> StudyResult:
    """Write a study's page and best design again, from its record alone.

    Raises:
        StudyError: the folder holds no study.
    """
    from codesign.spec.meaning import load_problem
    from codesign.study.folder import StudyFolder, read_json
    from codesign.study.state import fold
    from codesign.study.store import Store

    folder = StudyFolder(Path(study))
    if not folder.store.exists():
        raise StudyError("holds no study", where=str(folder.path), hint="name a study's folder")
    adopted = read_json(folder.resolved_spec)
    overrides = [*adopted["overrides"], f"name={adopted['spec']['name']}"]
    problem = load_problem(
        folder.spec, overrides=overrides, data_path=adopted["spec"]["data"]["path"]
    )
    with Store(folder.store) as store:
        state = fold(store.events())
    return StudyResult(folder=folder.path, content=_Page(problem, folder).write(state))


def train(
    design_path: str | Path,
    *,
    folder: str | Path,
    seed: int | None = None,
    data_path: str | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Train the design of a `best.yaml` again; curve and result land in `folder`.

    Args:
        seed: default: the file's own.
    """
    import dataclasses

    from codesign.spec.loader import load_design
    from codesign.spec.meaning import make_task
    from codesign.study.folder import write_json

    design = load_design(design_path)
    if data_path is not None:
        design = dataclasses.replace(design, data=dataclasses.replace(design.data, path=data_path))
    task = make_task(design)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = design.seed if seed is None else seed
    outcome = task.run(design.design, seed=chosen, folder=folder, report=report)
    write_json(
        folder / "result.json",
        {"seed": chosen, **dataclasses.asdict(outcome), "provenance": provenance()},
    )
    return outcome


def cost(design_path: str | Path, *, data_path: str | None = None) -> dict[str, Any]:
    """Count what the design of a `best.yaml` costs, in all and part by part."""
    import dataclasses

    from codesign.space import as_columns
    from codesign.spec.loader import load_design
    from codesign.spec.meaning import make_task

    design = load_design(design_path)
    if data_path is not None:
        design = dataclasses.replace(design, data=dataclasses.replace(design.data, path=data_path))
    task: Any = make_task(design)
    totals = task.costs(as_columns([dict(design.design)]))
    return {
        "design": dict(design.design),
        "costs": {name: float(values[0]) for name, values in totals.items()},
        "parts": [
            {
                "part": part.name,
                "layer": part.layer,
                "flop_per_example": float(part.flop.max()),
                "parameters": float(part.parameters.max()),
            }
            for part in task.cost_parts(design.design)
        ],
    }


def validate(
    spec_path: str | Path, *, overrides: Sequence[str] = (), data_path: str | None = None
) -> dict[str, Any]:
    """Check a spec; return the size of its space, the feasible share and the range of costs."""
    import numpy as np

    from codesign.spec.meaning import load_problem

    problem = load_problem(spec_path, overrides=overrides, data_path=data_path)
    size = problem.feasible.size
    drawn = problem.feasible.sample(2000, np.random.default_rng(0))
    costs = problem.feasible.costs(drawn)
    return {
        "study": problem.spec.name,
        "hash": problem.spec.hash,
        "designs": problem.space.size,
        "feasible": size.count,
        "feasible_is_exact": size.exact,
        "feasible_share": size.count / problem.space.size,
        "costs": {
            name: {
                "least": problem.feasible.cheapest(name)[1],
                "median_of_feasible": float(np.median(values)),
                "most_of_sample": float(values.max()),
            }
            for name, values in costs.items()
        },
    }


def adopt_spec(spec: StudySpec, folder: StudyFolder, overrides: Sequence[str]) -> None:
    """Write the spec into a new study, or check that a study is continued with its own.

    Raises:
        StudyError: the study was started with another spec; the message lists what differs.
    """
    from codesign.study.folder import read_json, write_json, write_text

    if folder.resolved_spec.exists():
        known = read_json(folder.resolved_spec)
        now = json.loads(json.dumps(spec.identity()))
        if known["hash"] != spec.hash:
            changes = "\n".join(_differences(known["identity"], now)) or "(unknown)"
            raise StudyError(
                f"was started with another spec:\n{changes}",
                where=str(folder.path),
                hint="take the change back, or name another folder with --study",
            )
    write_text(folder.spec, spec.source)
    write_json(
        folder.resolved_spec,
        {
            "hash": spec.hash,
            "overrides": list(overrides),
            "identity": spec.identity(),
            "spec": spec.to_json(),
        },
    )


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"  {path}: {json.dumps(old)} → {json.dumps(new)}"]


def make_proposer(spec: StudySpec) -> Proposer:
    """Make the spec's proposer."""
    module = plugin("proposer", spec.search.proposer)
    proposer: Proposer = module.make(spec.objectives, module.Options(**spec.search.options))
    return proposer


def describe_space(problem: Problem) -> str:
    """One line about how much of the space the budgets leave."""
    size = problem.feasible.size
    count = f"{size.count:,.0f}" if size.exact else f"about {size.count:.3g}"
    return (
        f"{problem.spec.name}: {count} of {problem.space.size:,} designs are within the budgets "
        f"({100 * size.count / problem.space.size:.3g}%)"
    )


def provenance() -> dict[str, str]:
    """What it takes to explain a result later: commit, versions, host."""
    versions = {}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "codesign": __version__,
        "commit": _git_commit(),
        "python": platform.python_version(),
        **versions,
        "host": socket.gethostname(),
        "machine": platform.machine(),
    }


def _git_commit() -> str:
    """The commit this code is of, `+` appended where files differ from it."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", str(here))
            )
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"
    return commit + ("+" if changes else "")


class _Page:
    """Keeps a study's report.html and best.yaml up to date."""

    def __init__(self, problem: Problem, folder: StudyFolder) -> None:
        self._problem = problem
        self._folder = folder
        self._next = time.monotonic() + PAGE_EVERY_S
        self._shown = -1

    def refresh(self, view: View) -> None:
        """Write again, at most every ten seconds, when a trial has ended since."""
        ended = sum(not trial.open for trial in view.state.trials.values())
        if time.monotonic() >= self._next and ended != self._shown:
            self.write(view.state)
            self._shown = ended
            self._next = time.monotonic() + PAGE_EVERY_S

    def write(self, state: Any) -> ReportContent:
        """Write both files."""
        from codesign.report.page import render_page
        from codesign.study.folder import write_text
        from codesign.study.results import best_yaml, report_content

        content = report_content(self._problem, state, self._folder)
        write_text(self._folder.page, render_page(content))
        best = best_yaml(self._problem, state)
        if best is not None:
            write_text(self._folder.best, best)
        return content


def _both(
    first: Callable[[View], None] | None, second: Callable[[View], None]
) -> Callable[[View], None]:
    def call(view: View) -> None:
        if first is not None:
            first(view)
        second(view)

    return call
