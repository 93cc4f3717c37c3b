"""What the command line and a notebook call; each function is one command.

Heavy packages are imported by the functions that need them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.predicted import CONFIDENCE
from codesign.preview import estimate as estimate
from codesign.preview import validate as validate
from codesign.provenance import provenance
from codesign.registry import plugin, task_family
from codesign.retrain import too_many_processes
from codesign.retrain import train as train
from codesign.study.commands import cancel as cancel
from codesign.study.commands import export as export
from codesign.study.commands import extend as extend
from codesign.study.commands import status as status
from codesign.study.commands import stop as stop

if TYPE_CHECKING:
    from codesign.contracts import HardwareSpec, PlanRequest, Proposer
    from codesign.report.content import ReportContent
    from codesign.spec.model import StudySpec
    from codesign.spec.problem import Problem
    from codesign.study.loop import StudyLoop, View


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
    steal: bool = False,
    watch: Callable[[View], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> StudyResult:
    """Run a study, or continue the one in its folder; Ctrl-C leaves it ready to be continued.

    Args:
        study: the study's folder; default `studies/NAME`.
        overrides, data_path: see `load_problem`.
        fork: folder of another study whose trials a new one begins with (see `study.fork`).
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

    problem = load_problem(spec_path, overrides=overrides, data_path=data_path, say=say)
    folder = StudyFolder(Path(study) if study else Path("studies") / problem.spec.name)
    with contextlib.ExitStack() as held:
        held.enter_context(hold(folder.path, steal=steal, say=say))
        folder.remove_leftovers()
        adopt_spec(problem.spec, folder, data=problem.task.facts().get("source_md5", {}))
        say(describe_space(problem))
        launch = problem.spec.launch
        for line in too_many_processes(launch.executor, launch.workers or 1, launch.processes):
            say(f"warning: {line}")
        executor = plugin("executor", launch.executor).make(
            workers=launch.workers, processes=launch.processes
        )
        held.callback(executor.close)
        store = held.enter_context(open_store(folder, say=say))
        if fork is not None:
            taken = take_over(problem, folder, store, origin=Path(fork), now=time.time())
            say(f"{taken} trials taken over from {fork}")
        outputs = Outputs(problem.spec, problem.task.metrics, folder)
        proposer = make_proposer(problem.spec)
        watch_both = _both(watch, outputs.refresh)
        loop = StudyLoop(problem, folder, store, executor, proposer, watch=watch_both, say=say)
        try:
            interrupted = _run(loop, say)
        finally:
            executor.close()
            store.require_mine()
            loop.save()
            content = outputs.write(loop.state)
    return StudyResult(folder=folder.path, content=content, interrupted=interrupted)


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


def cost(
    design_path: str | Path,
    *,
    data_path: str | None = None,
    hardware: HardwareSpec | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Count what the design of a `best.yaml` costs, in all and part by part.

    Args:
        hardware: device to predict memory, throughput and latency for.
        confidence: of each end of their intervals, in (0.5, 1).

    Raises:
        CodesignError: whatever a person can mend.
    """
    import dataclasses

    from codesign.designs import as_columns
    from codesign.spec.loader import load_design
    from codesign.spec.problem import predicted_costs, task_of_design

    design = load_design(design_path, data_path=data_path)
    task = task_of_design(design)
    family = task_family(design.model["name"])
    device = None if hardware is None else hardware.for_training(design.train)
    predicted = predicted_costs(family, task, device, confidence)
    totals = task.costs(as_columns([dict(design.design)]))
    return {
        "design": dict(design.design),
        "costs": {name: float(values[0]) for name, values in totals.items()},
        "parts": [dataclasses.asdict(part) for part in task.cost_parts(design.design)],
        "predicted": {} if predicted is None else predicted.of_design(design.design),
        "step_parts_ms": {} if predicted is None else predicted.step_parts_ms(design.design),
        "confidence": confidence,
    }


def plan(
    design_path: str | Path,
    request: PlanRequest,
    *,
    data_path: str | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Choose the system to train the design of a `best.yaml` on; all of it is predicted.

    Args:
        out: a design file to be written, with the system in its section `train`.
        say: called with a line for a person now and then.

    Returns:
        The design, and what `codesign.contracts.Task.plan` returns.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.planned import write_planned
    from codesign.spec.loader import load_design
    from codesign.spec.problem import task_of_design

    design = load_design(design_path, data_path=data_path)
    found = task_of_design(design).plan(design.design, request, say=say)
    if out is not None:
        write_planned(Path(out), design, found)
    return {"design": dict(design.design), **found}


def init(path: str | Path) -> None:
    """Write a commented spec to start from.

    Raises:
        SpecError: there is a file already, or none can be written.
    """
    from importlib import resources

    from codesign.errors import SpecError

    text = resources.files("codesign.spec").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecError("exists already", where=str(path), hint="name another file") from None
    except OSError as error:
        raise SpecError(f"cannot be written: {error.strerror}", where=str(path)) from error


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


def profile(
    out: str | Path,
    *,
    minutes: float = 20.0,
    sections: Sequence[str] = ("op", "step", "table"),
    device: str = "auto",
    shapes: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure operations, lookups and training steps on this machine, into a CSV file.

    Args:
        out: the file; rows that it holds are not measured again.
        minutes: most minutes, > 0.
        sections: of `op`, `step`, `table`.
        device: `cuda`, `cpu`, or `auto` for a GPU where there is one.
        shapes: CSV of own operations, measured first: op, B, M, N, K, dtype.
        say: takes lines of progress.

    Returns:
        Rows measured and left out by kind, and the device's ceilings, with units in their names.

    Raises:
        ConfigError: arguments or shapes cannot be.
        StudyError: the file is in use, of another device, or cannot be written.
        LaunchError: the device broke.
    """
    summary: dict[str, Any] = plugin("profiler", "wukong").run(
        Path(out),
        minutes=minutes,
        sections=sections,
        device_name=device,
        shapes=Path(shapes) if shapes else None,
        say=say,
    )
    return summary


def calibrate(
    device: str,
    sources: Sequence[str | Path],
    *,
    precision: str = "fp32",
    kind: str = "auto",
    out: str | Path | None = None,
    data_path: str | None = None,
    accept_mismatch: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Fit a device's cost model to what was measured on it; the one it had is kept.

    Args:
        device: name of a shipped device, or the path of a hardware file.
        sources: profiles, tables of products (op, B, M, N, K, latency_ms), and folders of studies.
        kind: `roofline`, `learned`, or `auto`: whichever errs less on operations held out.
        out: folder for artifact and hardware file; default that of a hardware file of one's own,
            else the current one.
        data_path: where the data of the studies are.
        accept_mismatch: take measurements of another device, or of several versions of torch.
        say: takes lines of progress.

    Returns:
        Files written, and errors of operations and of whole steps, before and after.

    Raises:
        CodesignError: whatever a person can mend.
    """
    from codesign.errors import ConfigError
    from codesign.study.measured import measured_runs

    paths = [Path(source) for source in sources]
    folders = [path.resolve() for path in paths if path.is_dir()]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ConfigError("is given twice", where=str(folder), hint="name each study once")
    runs = [
        run for path in paths if path.is_dir() for run in measured_runs(path, data_path=data_path)
    ]
    report: dict[str, Any] = plugin("calibrator", "wukong").run(
        device,
        [path for path in paths if not path.is_dir()],
        runs,
        precision=precision,
        kind=kind,
        out=Path(out) if out else None,
        accept_mismatch=accept_mismatch,
        say=say,
    )
    return report


def evaluate_cost(
    table: str | Path,
    *,
    hardware: str,
    confidence: float = CONFIDENCE,
    out: str | Path | None = None,
    plot: str | Path | None = None,
) -> dict[str, Any]:
    """Predict what a device takes for a table of operations, and compare it with measurements.

    Args:
        table: CSV with columns op, B, M, N, K and, if you like, count, dtype, latency_ms.
        hardware: name of a shipped device, or path of a hardware file.
        confidence: of each end of the intervals, in (0.5, 1).
        out: CSV file to write the predictions to.
        plot: SVG file to draw predicted against measured times in.

    Returns:
        Times in ms of each operation and of all, each with its interval and with what it rests
        on; where latencies are given, errors, coverage and ranking, of products and of all.

    Raises:
        ConfigError: a file, row or setting cannot be; the message names it.
    """
    found: dict[str, Any] = plugin("evaluator", "wukong").evaluate(
        Path(table),
        device=hardware,
        confidence=confidence,
        out=Path(out) if out else None,
        plot=Path(plot) if plot else None,
    )
    return found


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


def _both(
    first: Callable[[View], None] | None, second: Callable[[View], None]
) -> Callable[[View], None]:
    def call(view: View) -> None:
        if first is not None:
            first(view)
        second(view)

    return call
