"""YAML 1.2 scalars, duplicate keys refused, and a line and column for every value.

PyYAML alone reads `1e-3` as text, `off` as False, `12:30` as 750 and keeps the last of two
equal keys in silence.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from codesign.errors import SpecError

KeyPath = tuple[str | int, ...]
MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MOST = 10**18


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of the YAML 1.2 core schema."""


_FLOAT = (
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
# Tag, pattern, and the characters that such a scalar can begin with. The first match counts.
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    _whole = re.compile(rf"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, _first)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node), 0 if node.value[:2] in ("0o", "0x") else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


@dataclass(frozen=True)
class Document:
    """A parsed file: plain values, and where each of them stands.

    Attributes:
        positions: path of keys and indices → (line, column) of the value, both from 1.
        mistakes: what could already be seen while reading, each with its place.
        unread: paths of the values that these are about; None stands in their place.
    """

    name: str
    values: Any
    positions: dict[KeyPath, tuple[int, int]]
    mistakes: list[str] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)

    def refuse(self, path: KeyPath, complaint: str) -> None:
        """Note that a value cannot be read."""
        self.mistakes.append(f"{self.where(path)}: {dotted(path)} {complaint}")
        self.unread.add(path)

    def where(self, path: KeyPath) -> str:
        """`file:line:column` of a value, or of the nearest enclosing one."""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions.get(path, (1, 1))
        return f"{self.name}:{line}:{column}"


def read_yaml(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        SpecError: the file is missing, too large, not UTF-8, or not YAML.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise SpecError(f"has {len(raw):,} bytes; at most {MAX_BYTES:,}", where=str(path))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"byte {error.start} is not UTF-8",
            where=f"{path}:{line}",
            hint="save the file with UTF-8 encoding",
        ) from error
    return parse_yaml(text, name=str(path))


def parse_yaml(text: str, *, name: str) -> Document:
    """Parse YAML text; `name` is what messages call it."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        character = error.character if isinstance(error.character, int) else ord(error.character)
        raise SpecError(
            f"character U+{character:04X} cannot be in YAML", where=f"{name}:{line}:{column}"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        tab = "'\\t'" in str(error.problem)
        hint = "indent with spaces, not with tabs" if tab else ""
        raise SpecError(f"is not YAML: {error.problem}", where=where, hint=hint) from error
    except RecursionError as error:
        raise SpecError("is nested too deeply", where=name) from error
    except yaml.YAMLError as error:
        raise SpecError(f"is not YAML: {' '.join(str(error).split())}", where=name) from error
    document = Document(name=name, values=None, positions={})
    values = None if root is None else _build(loader, root, (), document, ())
    return dataclasses.replace(document, values=values)


def _build(
    loader: _Loader, node: yaml.Node, path: KeyPath, document: Document, parents: tuple[int, ...]
) -> Any:
    document.positions[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if id(node) in parents:
        raise SpecError("an anchor contains itself", where=document.where(path))
    if len(parents) > MAX_DEPTH or len(document.positions) > 100_000:
        raise SpecError("is nested too deeply or too large", where=document.where(path))
    inside = (*parents, id(node))
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(loader, item, (*path, i), document, inside) for i, item in enumerate(node.value)
        ]
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(loader, node, path, document, inside)
    return _build_scalar(loader, node, path, document)


def _build_mapping(
    loader: _Loader,
    node: yaml.MappingNode,
    path: KeyPath,
    document: Document,
    parents: tuple[int, ...],
) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            document.mistakes.append(f"{document.name}:{line}:{column}: a key must be plain text")
            continue
        if key in built:
            first = document.positions[(*path, key)]
            document.mistakes.append(
                f"{document.name}:{line}:{column}: {dotted((*path, key))} stands here again "
                f"(first value at line {first[0]}); must be given once"
            )
            continue
        built[key] = _build(loader, value_node, (*path, key), document, parents)
    return built


def _build_scalar(loader: _Loader, node: yaml.Node, path: KeyPath, document: Document) -> Any:
    try:
        value = loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or error
        document.refuse(path, f"cannot be read: {problem}")
        return None
    if isinstance(value, int) and abs(value) >= MOST:
        document.refuse(path, f"is {node.value[:40]}; must be a number below {MOST:.0e}")
        return None
    if isinstance(value, float) and not math.isfinite(value):
        document.refuse(path, f"is {node.value}; must be a finite number")
        return None
    return value


def dotted(path: KeyPath) -> str:
    """Write a path as `space.layers.low` or `objectives[0].metric`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def shown(value: Any) -> str:
    """Show a value in a message: short, with text in quotes."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
