"""From a YAML file to a `StudySpec`: every mistake of the file in one message.

Two checks: by the shipped JSON Schema, and by what the schema cannot say (names that only the
task knows, levels of the space, budgets), which `codesign.spec.meaning` adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from codesign.contracts import Metric, Objective
from codesign.errors import SpecError
from codesign.registry import nearest
from codesign.spec.model import (
    Choice,
    ConfirmSpec,
    DataSpec,
    DesignFile,
    LaunchSpec,
    Parameter,
    Range,
    SearchSpec,
    StudySpec,
)
from codesign.spec.yaml_reader import Document, KeyPath, dotted, parse_yaml, read_yaml

if TYPE_CHECKING:
    from jsonschema import ValidationError


def load_document(
    path: str | Path, *, overrides: Sequence[str] = (), data_path: str | None = None
) -> Document:
    """Read a study's YAML file, apply overrides, and check it against the schema."""
    document = read_yaml(Path(path))
    mistakes = list(document.mistakes)
    if not isinstance(document.values, dict):
        raise SpecError(
            "must be a mapping with the keys data, model, space, objectives",
            where=document.where(()),
        )
    for override in overrides:
        mistakes += _apply(override, document.values)
    data = document.values.setdefault("data", {})
    if data_path is not None and isinstance(data, dict):
        data["path"] = data_path
    mistakes += schema_mistakes(document)
    refuse(mistakes)
    return document


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
    return StudySpec(
        name=values.get("name") or _name_from(Path(document.name)),
        data=DataSpec(**values["data"]),
        model=values["model"],
        train=values.get("train", {}),
        space={name: parameter(entry) for name, entry in values["space"].items()},
        budgets={name: float(limit) for name, limit in values.get("budgets", {}).items()},
        objectives=tuple(
            Objective(
                metric=entry["metric"],
                goal=entry.get("goal", metrics[entry["metric"]].goal),
                reference=entry.get("reference"),
            )
            for entry in values["objectives"]
        ),
        baseline=values.get("baseline"),
        search=SearchSpec(confirm=confirm, **search),
        launch=LaunchSpec(**values.get("launch", {})),
        seed=values.get("seed", 0),
        source=source,
        overrides=tuple(overrides),
    )


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
    """Raise one SpecError for all mistakes, if there are any."""
    listed = list(dict.fromkeys(mistakes))
    if listed:
        raise SpecError("\n".join(listed))


def parameter(entry: Any) -> Parameter:
    """One entry of `space`: a range, a list of choices, or one fixed value."""
    if isinstance(entry, dict):
        return Range(**entry)
    if isinstance(entry, list):
        return Choice(values=tuple(entry))
    return Choice(values=(entry,))


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


def schema_mistakes(document: Document) -> Iterator[str]:
    """Yield what the JSON Schema objects to, one line per mistake."""
    from jsonschema import Draft202012Validator

    schema = json.loads(resources.files("codesign.spec").joinpath("schema.json").read_text())
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    from jsonschema.validators import extend

    validator = extend(Draft202012Validator, type_checker=checker)(schema)
    errors = sorted(validator.iter_errors(document.values), key=lambda e: list(map(str, e.path)))
    for error in errors:
        for leaf in _leaves(error):
            yield from _sentences(leaf, document)


def _leaves(error: ValidationError) -> list[ValidationError]:
    """Of a failed `oneOf`, keep the branch that the value's own type belongs to."""
    if error.validator != "oneOf" or not error.context:
        return [error]
    by_branch: dict[int, list[ValidationError]] = {}
    for inner in error.context:
        by_branch.setdefault(int(inner.schema_path[0]), []).append(inner)
    fitting = [
        branch
        for branch in by_branch.values()
        if not any(inner.validator == "type" and not inner.relative_path for inner in branch)
    ]
    return fitting[0] if fitting else [error]


def _sentences(error: ValidationError, document: Document) -> Iterator[str]:
    path: KeyPath = tuple(error.absolute_path)
    rule, schema = str(error.validator), cast("dict[str, Any]", error.schema)
    if rule == "additionalProperties" and isinstance(error.instance, dict):
        known = schema.get("properties", {})
        for key in error.instance:
            if key not in known:
                here = (*path, key)
                yield f"{document.where(here)}: {dotted(here)} is unknown; {nearest(key, known)}"
        return
    if rule == "required":
        present = cast("dict[str, Any]", error.instance)
        missing = [key for key in schema["required"] if key not in present]
        for key in missing:
            yield f"{document.where(path)}: {dotted((*path, key))} is missing"
        return
    yield (
        f"{document.where(path)}: {dotted(path)} is {shown(error.instance)}; "
        f"must {_demand(rule, schema[rule])}"
    )


def _demand(rule: str, bound: Any) -> str:
    """Put a schema rule in words."""
    if rule == "type":
        kinds = bound if isinstance(bound, list) else [bound]
        names = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole "
                 "number", "number": "a number", "boolean": "true or false"}  # fmt: skip
        return "be " + " or ".join(dict.fromkeys(names[kind] for kind in kinds))
    if rule == "oneOf":
        return "be a value, a list of values, or a mapping with low and high"
    if rule == "enum":
        return f"be one of {', '.join(map(str, bound))}"
    sentences: Mapping[str, str] = {
        "minimum": f"be ≥ {bound}",
        "maximum": f"be ≤ {bound}",
        "exclusiveMinimum": f"be > {bound}",
        "minItems": f"have at least {bound} item(s)",
        "maxItems": f"have at most {bound} items",
        "minProperties": f"have at least {bound} key(s)",
        "minLength": "not be empty",
        "uniqueItems": "have no equal items",
        "pattern": "consist of letters, digits, '.', '_' and '-', and begin with a letter or digit",
    }
    return sentences.get(rule, f"satisfy {rule} {bound}")


def shown(value: Any) -> str:
    """Show a value in a message: short, with text in quotes."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
