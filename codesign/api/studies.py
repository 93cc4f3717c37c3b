"""Studies: the data, a run, its report."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.provenance import provenance
from codesign.registry import plugin
from codesign.retrain import too_many_processes

if TYPE_CHECKING:
    from codesign.contracts import Executor, Proposer
    from codesign.report.content import ReportContent
    from codesign.spec.model import StudySpec
    from codesign.spec.problem import Problem
    from codesign.study.loop import StudyLoop
    from codesign.study.state import EarlierStudy
    from codesign.study.view import View


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
    fork: str | Path | None = None,
    warm_start: Sequence[str | Path] = (),
    steal: bool = False,
    watch: Callable[[View], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> StudyResult:
    """Run a study, or continue the one in its folder; Ctrl-C leaves it ready to be continued.

    Args:
        study: the study's folder; default `studies/NAME`.
        overrides, data_path: see `load_problem`.
        fork: folder of another study whose trials a new one begins with (see `study.fork`).
        warm_start: folders of earlier studies, instead of the spec's `search.warm_start`.
        steal: take the study from an owner on another host without waiting for its lease.
        watch: called a few times a second with what is going on.
        say: called with a line for a person at each stage.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.spec.problem import load_problem
    from codesign.study.adopt import adopt_spec
    from codesign.study.folder import StudyFolder
    from codesign.study.fork import fork as take_over
    from codesign.study.lock import hold
    from codesign.study.loop import StudyLoop
    from codesign.study.outputs import Outputs
    from codesign.study.restore import open_store
    from codesign.study.warm_start import warm_start as read_earlier
    from codesign.tracking.process import followed

    if warm_start:
        folders = json.dumps([str(path) for path in warm_start])
        overrides = [*overrides, f"search.warm_start={folders}"]
    problem = load_problem(spec_path, overrides=overrides, data_path=data_path, say=say)
    folder = StudyFolder(Path(study) if study else Path("studies") / problem.spec.name)
    with contextlib.ExitStack() as held:
        held.enter_context(hold(folder.path, steal=steal, say=say))
        folder.remove_leftovers()
        adopt_spec(problem.spec, folder, data=problem.task.facts().get("source_md5", {}))
        say(_describe_space(problem))
        executor = _executor(problem.spec, folder.path, say)
        held.callback(executor.close)
        store = held.enter_context(open_store(folder, say=say))
        if fork is not None:
            taken = take_over(problem, folder, store, origin=Path(fork), now=time.time())
            say(f"{taken} trials taken over from {fork}")
        earlier = read_earlier(problem, folder, store, now=time.time())
        for line in _warm_start_lines(problem.spec, earlier):
            say(line)
        outputs = Outputs(problem.spec, problem.task.metrics, folder)
        proposer = make_proposer(problem.spec)
        watch_both = _both(watch, outputs.refresh)
        held.enter_context(followed(folder.path, problem.spec.tracking, say))
        loop = StudyLoop(problem, folder, store, executor, proposer, watch=watch_both, say=say)
        try:
            interrupted = _run(loop, say)
        finally:
            executor.close()
            if loop.queued:
                say(f"{loop.queued} jobs go on in the queue; the same command collects them")
            store.require_mine()
            loop.save()
            content = outputs.write(loop.state)
    return StudyResult(folder=folder.path, content=content, interrupted=interrupted)


def _warm_start_lines(spec: StudySpec, earlier: Sequence[EarlierStudy]) -> Iterator[str]:
    """Say what was read of earlier studies, and whether the proposer learns from it."""
    for each in earlier:
        yield f"warm start: {each.told}"
    name = spec.search.proposer
    if earlier and not getattr(plugin("proposer", name), "LEARNS_RELATED_TASKS", False):
        yield f"warning: the proposer {name} does not learn from other studies: they are ignored"


def _executor(spec: StudySpec, study: Path, say: Callable[[str], None]) -> Executor:
    """Make the spec's executor; warn of more processes than the machine has cores."""
    from codesign.study.attempts import launch_request

    launch = spec.launch
    for line in too_many_processes(launch.executor, launch.workers or 1, launch.processes):
        say(f"warning: {line}")
    module = plugin("executor", launch.executor)
    executor: Executor = module.make(launch_request(spec, study, say))
    return executor


def _run(loop: StudyLoop, say: Callable[[str], None]) -> bool:
    """Run a loop to its end; return whether it was interrupted, or asked to stop."""
    try:
        stopped = bool(loop.run(provenance()).stopping)
    except KeyboardInterrupt:
        return True
    if reason := loop.stopped_by():
        say(f"stopped: {reason}")
    return stopped


def report(study: str | Path) -> StudyResult:
    """Write a study's page and best design again, from its record alone.

    Raises:
        StudyError: the folder holds no study.
    """
    from codesign.study.outputs import Outputs
    from codesign.study.recorded import read_study

    found = read_study(study)
    content = Outputs(found.spec, found.metrics, found.folder).write(found.state)
    return StudyResult(folder=found.folder.path, content=content)


def dashboard(
    study: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a page that follows a study, until the process is interrupted; it reads only.

    Args:
        host: address to listen on; one that others reach asks for a token.
        port: 0: any free one; None: 8765, or any where that is in use.
        token: ask for a token on 127.0.0.1, too.
        ready: called with the address to open.

    Raises:
        CodesignError: the folder holds no study, or nothing can listen there.
    """
    from codesign.dashboard.server import serve

    serve(Path(study), host=host, port=port, token=token, ready=ready)


def prepare_data(
    description: str | Path,
    *,
    data_path: str | Path,
    out: str | Path,
    skip_bad: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Turn a data set's files into memory-mapped columns, as a description says.

    Args:
        description: a YAML file, or the name of one that comes with the package.
        data_path: the folder of the files, or the only file.
        out: the folder to be made.
        skip_bad: malformed rows that may be left out, ≥ 0; they are counted and listed.
        say: takes lines of progress.

    Returns:
        Rows of each split, tasks with base rates, counts of features, rows left out.

    Raises:
        DataError: files or description are malformed, or `out` cannot be made.
    """
    summary: dict[str, Any] = plugin("preparer", "wukong").run(
        description, data_path=Path(data_path), out=Path(out), skip_bad=skip_bad, say=say
    )
    return summary


def make_proposer(spec: StudySpec) -> Proposer:
    """Make the spec's proposer."""
    module = plugin("proposer", spec.search.proposer)
    proposer: Proposer = module.make(spec.objectives, module.Options(**spec.search.options))
    return proposer


def _describe_space(problem: Problem) -> str:
    """One line about how much of the space the budgets leave."""
    size = problem.feasible.size
    count = f"{size.count:,.0f}" if size.exact else f"about {size.count:.3g}"
    return (
        f"{problem.spec.name}: {count} of {problem.space.size:,} designs are within the budgets "
        f"({100 * size.count / problem.space.size:.3g}%)"
    )


def _both(
    first: Callable[[View], None] | None, second: Callable[[View], None]
) -> Callable[[View], None]:
    def call(view: View) -> None:
        if first is not None:
            first(view)
        second(view)

    return call
