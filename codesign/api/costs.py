"""Costs: counted and predicted, measured, and what fits the predictions to the measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.predicted import CONFIDENCE
from codesign.registry import plugin, task_family

if TYPE_CHECKING:
    from codesign.contracts import HardwareSpec, PlanRequest


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
