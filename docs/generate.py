"""Write docs/spec.md: every field of a spec, from its JSON Schema and the tables of the program.

python docs/generate.py        # or: make docs
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from codesign.contracts import Knob
from codesign.registry import PROPOSERS, plugin
from cost_models.hardware import shipped
from wukong import knobs
from wukong.shape import WukongConfig
from wukong.task import METRICS, SETTINGS, SOURCES
from wukong.train_config import TrainConfig

TARGET = Path(__file__).with_name("spec.md")
HEAD = """# The spec

One YAML file (1.2: `1e-3` is a number, `off` is text) describes a study. `codesign init` writes
one to start from, `codesign validate FILE` reports all mistakes at once, each with file, line and
column, and `--set section.key=VALUE` overrides a value. Editors complete it with
`# yaml-language-server: $schema=…/codesign/spec/schema.json` in the first line.

This page is generated from the schema and from the program's own tables.
"""


def page() -> str:
    """Return the page as Markdown."""
    schema = json.loads(resources.files("codesign.spec").joinpath("schema.json").read_text())
    lines = [HEAD]
    for name, field in schema["properties"].items():
        needed = " (required)" if name in schema["required"] else ""
        lines += [f"## {name}{needed}", "", field["description"], ""]
        lines += _EXTRA[name](schema) if name in _EXTRA else _table(field) or [_kind(field)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _table(field: Mapping[str, Any]) -> list[str]:
    rows = list(_rows(field, ""))
    return ["| key | is | meaning |", "|---|---|---|", *rows] if rows else []


def _rows(field: Mapping[str, Any], prefix: str) -> Iterator[str]:
    inner = field.get("items", field)
    for name, entry in inner.get("properties", {}).items():
        needed = ", required" if name in inner.get("required", ()) else ""
        meaning = entry.get("description", "")
        yield f"| `{prefix}{name}` | {_kind(entry)}{needed} | {meaning} |"
        if entry.get("type") == "object":
            yield from _rows(entry, f"{prefix}{name}.")


def _kind(entry: Mapping[str, Any]) -> str:
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    if "$ref" in entry:
        return entry["$ref"].rsplit("/", 1)[1]
    words = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number",
             "number": "number", "boolean": "true or false"}  # fmt: skip
    bounds = [
        f"{sign} {entry[rule]}"
        for rule, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if rule in entry
    ]
    return " ".join([words[entry["type"]], ", ".join(bounds)]).strip()


def _data(schema: Mapping[str, Any]) -> list[str]:
    sources = ", ".join(f"`{name}`" for name in SOURCES)
    return [*_table(schema["properties"]["data"]["oneOf"][1]), "", f"Sources: {sources}."]


def _space(schema: Mapping[str, Any]) -> list[str]:
    entry = schema["$defs"]["parameter"]["oneOf"][2]
    return [
        "An entry is one fixed value, a list of values, or a mapping:",
        "",
        *_table(entry),
        "",
        "Names are those under `model` and `train`, but for the fixed ones. Where a knob's",
        "condition does not hold, a design has its value `otherwise`.",
    ]


def _settings(section: str, config: type) -> list[str]:
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    rows = []
    for name, knob in SETTINGS[section].items():
        meaning = knob.meaning if knob else "a layout of tables; see `wukong.shape`"
        marks = ["fixed only"] if name in knobs.FIXED or knob is None else []
        marks += [f"by layer of `{knob.counted_by}`"] if knob and knob.counted_by else []
        note = f" ({', '.join(marks)})" if marks else ""
        rows.append(f"| `{name}` | {_range(knob)} | `{_plain(defaults[name])}` | {meaning}{note} |")
    return ["| key | is | default | meaning |", "|---|---|---|---|", *rows]


def _range(knob: Knob | None) -> str:
    if knob is None:
        return "list"
    if knob.kind == "flag":
        return "true or false"
    if knob.kind == "choice":
        return ", ".join(f"`{choice}`" for choice in knob.choices)
    if knob.kind == "metric":
        return ", ".join(f"`{choice}`" for choice in knob.choices) + ", or METRIC.TASK"
    word = "whole number" if knob.kind == "int" else "number"
    return f"{word} {_plain(knob.low)} … {_plain(knob.high)}" if knob.low is not None else word


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metrics(*sources: str) -> list[str]:
    rows = [
        f"| `{name}` | {metric.unit or '–'} | {metric.goal} | {metric.meaning} |"
        for name, metric in METRICS.items()
        if metric.source in sources
    ]
    return ["| metric | unit | goal | meaning |", "|---|---|---|---|", *rows]


def _hardware(schema: Mapping[str, Any]) -> list[str]:
    names = ", ".join(f"`{name}`" for name in shipped())
    return [*_table(schema["properties"]["hardware"]["oneOf"][1]), "", f"Shipped: {names}."]


def _budgets(schema: Mapping[str, Any]) -> list[str]:
    tables = [*_metrics("exact"), "", "Predicted:", "", *_metrics("predicted")]
    return [*tables, "", *_table(schema["properties"]["budgets"])]


def _objectives(schema: Mapping[str, Any]) -> list[str]:
    return [
        *_table(schema["properties"]["objectives"]),
        "",
        *_metrics("learned", "exact", "predicted"),
        "",
        "Where the data have several tasks, a metric of the model is the mean over them, and",
        "`METRIC.TASK`, such as `auc.ctr`, is that of one task.",
    ]


def _search(schema: Mapping[str, Any]) -> list[str]:
    lines = _table(schema["properties"]["search"])
    for name in PROPOSERS:
        fields = dataclasses.fields(plugin("proposer", name).Options)
        options = ", ".join(f"`{field.name}` ({_plain(field.default)})" for field in fields)
        lines += ["", f"`options` of `{name}`: {options or 'none'}."]
    return lines


_EXTRA = {
    "data": _data,
    "model": lambda schema: [
        *_table(schema["properties"]["model"]["oneOf"][1]),
        "",
        *_settings("model", WukongConfig),
    ],
    "train": lambda _: _settings("train", TrainConfig),
    "space": _space,
    "hardware": _hardware,
    "budgets": _budgets,
    "objectives": _objectives,
    "search": _search,
}


def main() -> None:
    """Write the page."""
    TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
