"""From a YAML file to a `StudySpec`: every mistake of the file in one message.

Two checks: by the shipped JSON Schema, and by what the schema cannot say (names that only the
task knows, levels of the space, budgets), which `codesign.spec.meaning` adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from codesign.contracts import HardwareSpec, Metric, Objective
from codesign.errors import SpecError
from codesign.metrics import split_name
from codesign.predicted import CONFIDENCE
from codesign.spec.launching import device_counts, processes_of
from codesign.spec.model import (
    Choice,
    ConfirmSpec,
    DataSpec,
    DesignFile,
    FidelitySpec,
    LaunchSpec,
    Parameter,
    Range,
    SearchSpec,
    StudyBudgets,
    StudySpec,
    cost_budgets,
    study_budget_names,
)
from codesign.spec.schema import checked_by_schema
from codesign.spec.yaml_reader import Document, parse_yaml, read_yaml, shown

# Share of trials that are near misses, where a predicted budget can be missed.
EXPLORED = 0.05
MOST_MISTAKES = 100


def load_document(
    path: str | Path, *, overrides: Sequence[str] = (), data_path: str | None = None
) -> Document:
    """Read a study's YAML file, apply overrides, and check it against the schema.

    Returns:
        What is sound of it, with all mistakes so far: what is not sound is left out.

    Raises:
        SpecError: it cannot be read at all.
    """
    document = read_yaml(Path(path))
    if not isinstance(document.values, dict):
        raise SpecError(
            "must be a mapping with the keys data, model, space, objectives",
            where=document.where(()),
        )
    for override in overrides:
        document.mistakes.extend(_apply(override, document.values))
    data = document.values.setdefault("data", {})
    if isinstance(data, str):
        data = document.values["data"] = {"source": data}
    if isinstance(document.values.get("model"), str):
        document.values["model"] = {"name": document.values["model"]}
    if isinstance(document.values.get("hardware"), str):
        document.values["hardware"] = {"name": document.values["hardware"]}
    if data_path is not None and isinstance(data, dict):
        data["path"] = data_path
    return checked_by_schema(document)


def build_spec(
    document: Document,
    metrics: Mapping[str, Metric],
    *,
    source: str,
    overrides: Sequence[str] = (),
) -> StudySpec:
    """Freeze a document that passed the schema; objectives without a goal have their metric's."""
    values = document.values
    search = dict(values.get("search", {}))
    confirm = ConfirmSpec(**search.pop("confirm", {}))
    fidelity = _fidelity(search.pop("fidelity")) if "fidelity" in search else None
    warm_start = tuple(search.pop("warm_start", ()))
    launch = values.get("launch", {})
    budgets, of_study = values.get("budgets", {}), study_budget_names()
    if any(metrics[name].source == "predicted" for name in cost_budgets(budgets)):
        search.setdefault("explore_infeasible", EXPLORED)
    return StudySpec(
        name=values.get("name") or _name_from(Path(document.name)),
        data=DataSpec(**values["data"]),
        model=values["model"],
        train=values.get("train", {}),
        space={name: parameter(entry) for name, entry in values["space"].items()},
        budgets={name: float(limit) for name, limit in cost_budgets(budgets).items()},
        hardware=_hardware(values) if "hardware" in values else None,
        confidence=budgets.get("confidence", CONFIDENCE),
        study_budgets=StudyBudgets(**{k: v for k, v in budgets.items() if k in of_study}),
        objectives=tuple(
            Objective(
                metric=entry["metric"],
                goal=entry.get("goal", metrics[split_name(entry["metric"])[0]].goal),
                reference=entry.get("reference"),
                predicted=metrics[split_name(entry["metric"])[0]].source == "predicted",
            )
            for entry in values["objectives"]
        ),
        baseline=values.get("baseline"),
        search=SearchSpec(confirm=confirm, fidelity=fidelity, warm_start=warm_start, **search),
        launch=LaunchSpec(**{**launch, "processes": processes_of(launch)}),
        seed=values.get("seed", 0),
        tracking=values.get("tracking", {}),
        source=source,
        overrides=tuple(overrides),
    )


def _fidelity(section: Mapping[str, Any]) -> FidelitySpec:
    return FidelitySpec(**{**section, "rungs": tuple(section["rungs"])})


def _hardware(values: Mapping[str, Any]) -> HardwareSpec:
    section, launch = values["hardware"], values.get("launch", {})
    if launch.get("executor") == "slurm":
        section = {"devices": processes_of(launch), **section}
    if launch.get("system") == "planned":
        counts = device_counts(launch)
        section = {**section, "system": "planned", "devices": counts[-1], "counts": counts}
    return HardwareSpec(**section).for_training(values.get("train", {}))


def _name_from(path: Path) -> str:
    """A study's name from its file's: what a folder name may hold, the rest as dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "study"


def load_design(path: str | Path, *, data_path: str | None = None) -> DesignFile:
    """Read a design file such as a study's `best.yaml`.

    Args:
        data_path: replaces `data.path`.

    Raises:
        SpecError: the file is no design file.
    """
    document = read_yaml(Path(path))
    values = document.values
    required = ("data", "model", "train", "design")
    if not isinstance(values, dict) or any(
        not isinstance(values.get(key), dict) for key in required
    ):
        raise SpecError(
            f"is not a design file; must have the sections {', '.join(required)}",
            where=document.where(()),
            hint="take the best.yaml of a study folder",
        )
    mistakes = list(document.mistakes)
    name, seed = values["model"].get("name"), values.get("seed", 0)
    if not isinstance(name, str):
        where = document.where(("model", "name"))
        mistakes.append(f"{where}: model.name is {shown(name)}; must be text")
    if not isinstance(seed, int):
        where = document.where(("seed",))
        mistakes.append(f"{where}: seed is {shown(seed)}; must be a whole number")
    refuse(mistakes)
    data = values["data"]
    return DesignFile(
        data=DataSpec(source=data.get("source", ""), path=data_path or data.get("path")),
        model=values["model"],
        train=values["train"],
        design=values["design"],
        seed=seed,
        path=Path(path),
    )


def refuse(mistakes: Iterable[str]) -> None:
    """Raise one SpecError for all mistakes, if there are any, in the order of their places."""
    listed = sorted(dict.fromkeys(mistakes), key=_place)
    if len(listed) > MOST_MISTAKES:
        listed[MOST_MISTAKES:] = [f"… and {len(listed) - MOST_MISTAKES:,} more mistakes"]
    if listed:
        raise SpecError("\n".join(listed))


def _place(mistake: str) -> tuple[int, int]:
    place = re.search(r":(\d+):(\d+): ", mistake)
    return (int(place[1]), int(place[2])) if place else (0, 0)


def parameter(entry: Any) -> Parameter:
    """One entry of `space`: a range, choices, or one fixed value, with what goes with them."""
    if isinstance(entry, list):
        return Parameter(levels=Choice(values=tuple(entry)))
    if not isinstance(entry, dict):
        return Parameter(levels=Choice(values=(entry,)))
    rest = dict(entry)
    when = {
        name: tuple(values) if isinstance(values, list) else (values,)
        for name, values in rest.pop("when", {}).items()
    }
    with_levels = {
        "when": when,
        "otherwise": rest.pop("otherwise", None),
        "by_layer": rest.pop("by_layer", False),
        "taper": tuple(rest.pop("taper", ())),
    }
    levels = Choice(values=tuple(rest["choices"])) if "choices" in rest else Range(**rest)
    return Parameter(levels=levels, **with_levels)


def _apply(override: str, values: dict[str, Any]) -> list[str]:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        return [f"--set {override}: must be section.key=value, e.g. search.trials=40"]
    parsed = parse_yaml(text, name=f"--set {override}")
    inner = values
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            return [f"--set {override}: {key} is not a section"]
    inner[keys[-1]] = parsed.values
    return list(parsed.mistakes)
