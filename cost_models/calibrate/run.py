"""The whole of a calibration: measurements in, artifact and report out."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from codesign.contracts import MeasuredRun
from codesign.errors import ConfigError
from cost_models.artifacts import content_of, cost_model, from_content
from cost_models.calibrate.artifact import rounded, write
from cost_models.calibrate.operations import (
    FITS,
    FittedOperations,
    fit_spread,
    possible_fits,
)
from cost_models.calibrate.read import Measurements, read_files
from cost_models.calibrate.runs import steps_of
from cost_models.calibrate.steps import MeasuredStep, measured_totals, named_totals
from cost_models.calibrate.totals import FEWEST_ROWS, fit_total, held_out_scores
from cost_models.evaluation.scores import folds, one_sided, scores
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision, load_hardware
from cost_models.times.cost_model import CostModel
from cost_models.times.totals import Total

AUTO = "auto"


def run(
    device: str,
    files: Sequence[Path],
    runs: Sequence[MeasuredRun] = (),
    *,
    precision: Precision = "fp32",
    kind: str = AUTO,
    out: Path | None = None,
    accept_mismatch: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Fit a device's cost model, and write it beside a hardware file that names it.

    Args:
        device: name of a shipped device, or the path of a hardware file.
        files: profiles, and tables of products.
        runs: whole training runs of studies.
        kind: of artifact, a key of `operations.FITS`; `auto`: the one with the least error held
            out.
        out: folder of the artifact; default that of a hardware file of one's own, else the
            current one.
        accept_mismatch: take measurements of another device, or of several versions of torch.
        say: takes lines of progress.

    Returns:
        `artifact`, `hardware`: files written; `kept`: where the artifact went that was there
        before, or None; `totals`: name → scores `before`, by the model that the device had (which
        may be fitted to them: `before_saw_the_data`), and `after`, held out (None: too few rows);
        `operations`, `memory`: errors held out; `noise`: of rows measured twice.

    Raises:
        ConfigError: what is measured is malformed, of another device, too little or nothing at
            all, or is given twice, or the folder cannot be written.
    """
    hardware = load_hardware(device)
    data: list[dict[str, Any]] = _described(files)
    before = cost_model(hardware, precision)
    say("reading")
    measured = read_files(files, hardware, precision, accept_mismatch=accept_mismatch)
    own = steps_of(runs, hardware, precision, accept_mismatch=accept_mismatch)
    measured = replace(measured, steps=[*measured.steps, *own])
    if not len(measured.operations) and not measured.steps:
        raise ConfigError(
            f"nothing was measured in {precision}",
            where=", ".join(map(str, files)) or "the studies",
            hint="name another --precision, or measure with `codesign profile`",
        )
    _check_enough(measured)
    say(f"fitting {len(measured.operations):,} operations, {len(measured.steps):,} steps")
    content = rounded(fitted(hardware, precision, measured, kind=kind))
    if own:
        data.append({"studies": sorted({run.study for run in runs}), "runs": len(own)})
    seen = any(one in _earlier(hardware, precision)["data"] for one in data)
    content["data"] += [one for one in data if one not in content["data"]]
    written = write(content, hardware, out)
    return {
        **{name: None if path is None else str(path) for name, path in written.items()},
        **_report(content, rounded(_before(before, measured.steps))),
        "before_saw_the_data": seen,
    }


def _report(content: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What a new artifact says of itself; its totals beside those of the model before."""
    after = content["held_out"]
    return {
        "kind": content["kind"],
        "operations": after.get("operations"),
        "memory": after.get("memory"),
        "totals": {
            name: {"before": scored, "after": after.get(name)} for name, scored in before.items()
        },
        "noise": content["noise"],
    }


def _check_enough(measured: Measurements) -> None:
    """Hold that something can be fitted, so that no artifact is replaced by one of assumptions.

    Raises:
        ConfigError: no kind of operation and no total was measured often enough.
    """
    operations = _most(measured.operations.kind)
    steps = max((len(rows) for rows in named_totals(measured.steps).values()), default=0)
    if max(operations, steps) < FEWEST_ROWS:
        raise ConfigError(
            f"too little was measured: {operations} operations of one kind and {steps} steps alike "
            f"at most; a fit needs {FEWEST_ROWS}",
            hint="measure more with `codesign profile`, or give more studies",
        )


def _most(kinds: Array) -> int:
    return max(Counter(kinds.tolist()).values(), default=0)


def fitted(
    hardware: Hardware, precision: Precision, measured: Measurements, *, kind: str = AUTO
) -> dict[str, Any]:
    """Fit operations, totals and memory; return the artifact's content.

    Where no kind of operation was measured often enough, what the device had stays, and totals are
    fitted over that.
    """
    content = _earlier(hardware, precision)
    if _most(measured.operations.kind) >= FEWEST_ROWS:
        content = _fresh(hardware, precision, measured, kind)
    seconds = from_content(hardware, precision, content).operations.seconds
    for name, rows in named_totals(measured.steps).items():
        if len(rows) >= FEWEST_ROWS:
            totals = measured_totals(rows, seconds)
            content["totals"][name] = asdict(fit_total(totals))
            content["held_out"][name] = held_out_scores(totals)
    if len(measured.peak_ratios) >= FEWEST_ROWS:
        content["memory"] = asdict(fit_spread(measured.peak_ratios))
        content["held_out"]["memory"] = _peaks_held_out(measured.peak_ratios)
    noise = {name: _noise(logs) for name, logs in measured.repeats.items() if len(logs)}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    if measured.torch:
        versions["measured with torch"] = ", ".join(sorted(measured.torch))
    return {**content, "noise": {**content["noise"], **noise}, "versions": versions}


def _fresh(
    hardware: Hardware, precision: Precision, measured: Measurements, kind: str
) -> dict[str, Any]:
    kind, operations = _operations(kind, measured, hardware, precision)
    return {
        "kind": kind,
        "device": hardware.name,
        "precision": precision,
        **operations.content,
        "totals": {},
        "memory": None,
        "held_out": dict(operations.held_out),
        "noise": {},
        "data": [],
    }


def _earlier(hardware: Hardware, precision: Precision) -> dict[str, Any]:
    """The content of the artifact that a device has; a roofline of assumptions where it has none.

    Its file was read before, when its model was made.
    """
    found = content_of(hardware, precision)
    return {
        "kind": "roofline",
        "device": hardware.name,
        "precision": precision,
        **({} if found else {"features": [], "kinds": {}}),
        "totals": {},
        "memory": None,
        "held_out": {},
        "noise": {},
        "data": [],
        **found,
    }


def _operations(
    kind: str, measured: Measurements, hardware: Hardware, precision: Precision
) -> tuple[str, FittedOperations]:
    if kind not in (AUTO, *FITS):
        raise ConfigError(f"kind is {kind!r}; must be one of {', '.join((AUTO, *FITS))}")
    names = possible_fits(measured.operations) if kind == AUTO else [kind]
    found = {name: FITS[name](measured.operations, hardware, precision) for name in names}

    def error(name: str) -> float:
        held_out = found[name].held_out.get("operations")
        return float(held_out["mean_relative_error"]) if held_out else np.inf

    best = min(found, key=error)
    return best, found[best]


def _before(model: CostModel, steps: Sequence[MeasuredStep]) -> dict[str, dict[str, Any]]:
    """Score what the device's model predicts of all measured totals."""
    found = {}
    for name, rows in named_totals(steps).items():
        predicted = [_median_and_spread(model, step, total) for step, total in rows]
        median_s, sigma = np.array(predicted).T
        measured_s = np.array([step.seconds[total] for step, total in rows])
        examples = np.array([float(step.batch) for step, _ in rows])
        found[name] = scores(median_s, sigma, measured_s, examples)
    return found


def _median_and_spread(model: CostModel, step: MeasuredStep, total: Total) -> tuple[float, float]:
    """Median seconds, and the spread that the interval stands for."""
    median_s, high_s = model.seconds(
        step.operations(total), total, (0.0, 1.0), compiled=step.training.compile
    )
    return float(median_s[0]), float(np.log(high_s[0] / median_s[0]))


def _peaks_held_out(ratio: Array) -> dict[str, Any]:
    ratios, sigmas = [], []
    for held_out in folds(np.arange(len(ratio))):
        fit = fit_spread(ratio[~held_out])
        ratios.append(ratio[held_out] / fit.factor)
        sigmas.append(np.full(int(held_out.sum()), fit.sigma))
    return one_sided(np.concatenate(ratios), np.concatenate(sigmas))


def _noise(logs: Array) -> Mapping[str, Any]:
    """How far apart rows are that were measured twice, as relative differences."""
    apart = np.expm1(logs)
    return {
        "pairs": len(logs),
        "median": float(np.median(apart)),
        "p90": float(np.quantile(apart, 0.9)),
    }


def _described(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Name and checksum of each file.

    Raises:
        ConfigError: a file cannot be read, or another holds the same.
    """
    found: dict[str, Path] = {}
    for path in files:
        try:
            checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if checksum in found:
            raise ConfigError(
                f"holds what {found[checksum]} holds",
                where=str(path),
                hint="name each file once: rows count as often as they are given",
            )
        found[checksum] = path
    return [{"file": path.name, "sha256": checksum} for checksum, path in found.items()]
