"""What the shipped JSON Schema says of a document, in words and with places."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from codesign.registry import nearest
from codesign.spec.yaml_reader import Document, KeyPath, dotted, shown

if TYPE_CHECKING:
    from jsonschema import ValidationError


def checked_by_schema(document: Document) -> Document:
    """Return what the schema finds sound of a document, with its objections as mistakes.

    A faulty value is left out; in a list, None takes its place.
    """
    mistakes = list(document.mistakes)
    values = copy.deepcopy(document.values)
    for error in _errors(document):
        for leaf in _leaves(error):
            if not _is_unread(tuple(leaf.absolute_path), document):
                mistakes += _sentences(leaf, document)
            _drop(values, _faulty(leaf))
    _drop(values, document.unread)
    return dataclasses.replace(document, values=values, mistakes=mistakes)


def _errors(document: Document) -> list[ValidationError]:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    schema = json.loads(resources.files("codesign.spec").joinpath("schema.json").read_text())
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator = extend(Draft202012Validator, type_checker=checker)(schema)
    errors = validator.iter_errors(document.values)
    return sorted(errors, key=lambda error: list(map(str, error.path)))


def _is_unread(path: KeyPath, document: Document) -> bool:
    return any(path[: len(unread)] == unread for unread in document.unread)


def _faulty(error: ValidationError) -> list[KeyPath]:
    """Return the places that an error objects to."""
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = cast("dict[str, Any]", error.schema).get("properties", {})
        return [(*path, key) for key in error.instance if key not in known]
    return [path]


def _drop(values: dict[str, Any], places: Iterable[KeyPath]) -> None:
    for place in filter(None, places):
        *parents, last = place[:2] if place[0] == "space" else place  # half a knob is none
        inner: Any = values
        for key in parents:
            inner = inner.get(key) if isinstance(inner, dict) else inner[key] if inner else None
        if isinstance(inner, list):
            inner[cast("int", last)] = None
        elif isinstance(inner, dict):
            inner.pop(last, None)


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
    if "propertyNames" in error.schema_path:
        beside = ", ".join(schema["enum"])
        here = (*path, str(error.instance))
        yield f"{document.where(here)}: {dotted(here)} cannot be; must be one of {beside}"
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
    if rule == "oneOf" and all("type" in branch for branch in bound):
        return " or ".join([_demand("type", branch["type"]) for branch in bound]).replace(
            " be ", " "
        )
    if rule == "oneOf":
        return "be a value, a list of values, or a mapping with low and high"
    if rule == "enum":
        return f"be one of {', '.join(map(str, bound))}"
    sentences: Mapping[str, str] = {
        "minimum": f"be ≥ {bound}",
        "maximum": f"be ≤ {bound}",
        "exclusiveMinimum": f"be > {bound}",
        "exclusiveMaximum": f"be < {bound}",
        "minItems": f"have at least {bound} item(s)",
        "maxItems": f"have at most {bound} items",
        "minProperties": f"have at least {bound} key(s)",
        "minLength": "not be empty",
        "uniqueItems": "have no equal items",
        "pattern": "consist of letters, digits, '.', '_' and '-', and begin with a letter or digit",
    }
    return sentences.get(rule, f"satisfy {rule} {bound}")
