"""Random damage to a spec: to its text, and to the values in it."""

from __future__ import annotations

import copy
import re
import string
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import yaml

# What people and editors put into a spec by mistake, and what breaks parsers.
TOKENS = (
    "{", "}", "[", "]", ":", ",", "-", "&a", "*a", "!!python/object:os.system", "!x", "|", ">", "#",
    "'", '"', "\t", "\n", "  ", "---", "...", "%YAML 1.3", "? ", "<<: *a", "&a [*a]", "\x00",
    "\x85", "\ufeff", "\u2028", "é", "😀", "1e999", ".nan", "-.inf", "0x1F", "0o17", "1_000",
    "12:30", "2026-01-01",
    "yes", "off", "~", "null", "1e-3", "-0", "2.0", '"2"', "9" * 400, "[" * 200, "{a: " * 60,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2.5, 1e-9, 1e30, 10**30, -(10**18), "", "x", "2", "layers",
    [], {},
    [1], [1, 1], [[1]], [None], ["a", 1, True], {"low": 1, "high": 0}, {"low": 1, "high": 10**9},
    {"low": 1e-300, "high": 1e300, "log": True}, {"low": 0, "high": 1, "log": True},
    {"low": 1, "high": 64}, {"low": 1, "high": 9, "step": 4}, {"low": 1, "high": 2, "step": 1e-9},
    {"low": 1, "high": 100, "points": 10**4}, {"choices": [1, 2], "when": {"layers": 1}},
    {"choices": [2, 4], "by_layer": True}, {"low": 8, "high": 64, "log": True, "taper": [0.5, 1]},
    {"choices": [1], "when": {"d": 4}, "otherwise": 7}, {"metric": "auc"},
    [{"metric": "parameters"}],
    {"name": "wukong"}, {"name": "os.path"}, list(range(3000)), {str(i): i for i in range(300)},
)  # fmt: skip

# What people write where a number or a name is wanted.
SPELLINGS = (
    "1,000", "10k", "eight", "8.0", "'8'", "0x10", "0o10", "012", "1:30", "1_0", "+8", "8 # x",
    "2026-01-01", "2026-01-01T12:30:00Z", "yes", "No", "~", "NULL", "-.INF", "“8”", "8%", "1/2",
    "!!int '8'", "!!str 8", "!!binary aGk=", "!!set {a}",
    "!!python/object/apply:os.system ['true']",
    "&a 8", "*a", "{<<: {a: 1}}", "{<<: 1}", "{? [1] : 2}", "{1: 2}", "{😀: 1}", "[1, 2,, 3]",
    "8 8", "- 8", "@8", "`8`", "%8", "1e400", "1" * 5000, "", "[" * 900 + "]" * 900,
    "{a: " * 300 + "1" + "}" * 300,
)  # fmt: skip


def mutations(text: str, rng: np.random.Generator) -> Iterator[str]:
    """Yield damaged versions of a spec, without end."""
    while True:
        damaged = text
        for _ in range(int(rng.integers(1, 4))):
            damaged = _KINDS[int(rng.integers(len(_KINDS)))](damaged, rng)
        yield damaged


def _insert(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(text) + 1))
    return text[:at] + TOKENS[int(rng.integers(len(TOKENS)))] + text[at:]


def _delete(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(text) + 1))
    return text[:at] + text[at + int(rng.integers(1, 12)) :]


def _replace_character(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(text) + 1))
    return text[:at] + string.printable[int(rng.integers(100))] + text[at + 1 :]


def _move_line(text: str, rng: np.random.Generator) -> str:
    lines = text.splitlines(keepends=True) or [""]
    line = lines.pop(int(rng.integers(len(lines))))
    for _ in range(int(rng.integers(0, 3))):  # lost, moved, or doubled
        lines.insert(int(rng.integers(len(lines) + 1)), line)
    return "".join(lines)


def _reindent(text: str, rng: np.random.Generator) -> str:
    """Shift one line or all that follow, or indent with tabs."""
    lines = text.splitlines(keepends=True) or [""]
    first = int(rng.integers(len(lines)))
    last = len(lines) if rng.random() < 0.3 else first + 1
    shift = ("\t", " ", "  ", "    ", "\u00a0", "- ", "")[int(rng.integers(7))]
    for i in range(first, last):
        lines[i] = shift + (lines[i] if rng.random() < 0.5 else lines[i].lstrip(" "))
    return "".join(lines)


def _change_line_ends(text: str, rng: np.random.Generator) -> str:
    end = ("\r\n", "\r", "\n\n", "\u2028")[int(rng.integers(4))]
    mark = "\ufeff" if rng.random() < 0.3 else ""
    return mark + text.replace("\n", end, -1 if rng.random() < 0.7 else 1)


def _respell_word(text: str, rng: np.random.Generator) -> str:
    """Write a word in another case, with other marks, or twice."""
    words = list(re.finditer(r"[A-Za-z][A-Za-z_]+", text))
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    old = word.group()
    new = (
        *(old.upper(), old.title(), old.replace("_", "-"), old.replace("_", " "), f"“{old}”"),
        *(f"{old}: {old}", f"'{old}", f"{old}s", f"{old} ", old[::-1]),
    )
    return text[: word.start()] + new[int(rng.integers(len(new)))] + text[word.end() :]


def _respell_value(text: str, rng: np.random.Generator) -> str:
    values = list(re.finditer(r"(?<=: )[^\s{}\[\],#]+", text))
    if not values:
        return text
    value = values[int(rng.integers(len(values)))]
    new = SPELLINGS[int(rng.integers(len(SPELLINGS)))]
    return text[: value.start()] + new + text[value.end() :]


def _empty_section(text: str, rng: np.random.Generator) -> str:
    """Take away everything below a key, or everything but its key."""
    lines = text.splitlines(keepends=True) or [""]
    at = int(rng.integers(len(lines)))
    head, colon, _ = lines[at].partition(":")
    if rng.random() < 0.5:
        return "".join(lines[:at]) + head + colon + "\n" + "".join(lines[at + 1 :])
    depth = len(head) - len(head.lstrip())
    after = at + 1
    while after < len(lines) and lines[after].startswith(" " * (depth + 1)):
        after += 1
    return "".join(lines[: at + 1] + lines[after:])


def _join_documents(text: str, rng: np.random.Generator) -> str:
    mark = ("---\n", "...\n", "--- # copy\n", "", "<<<<<<< HEAD\n", "=======\n")
    return text + mark[int(rng.integers(len(mark)))] + text


def _change_value(text: str, rng: np.random.Generator) -> str:
    """Put a strange value somewhere, or give a value to a key of another place."""
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return _move_line(text, rng)
    places = list(_places(values))
    if not places:
        return text
    inner, key = places[int(rng.integers(len(places)))]
    other_inner, other_key = places[int(rng.integers(len(places)))]
    kind = int(rng.integers(4))
    if kind == 0:
        inner[key] = copy.deepcopy(other_inner[other_key])
    elif kind == 1 and isinstance(inner, dict):
        inner[str(other_key) + "x" * int(rng.integers(2))] = inner.pop(key)
    else:
        inner[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    try:
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    except RecursionError:
        return text


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(values, dict):
        keys: Any = list(values)
    elif isinstance(values, list):
        keys = range(min(len(values), 20))
    else:
        return
    for key in keys:
        yield values, key
        yield from _places(values[key])


_KINDS: tuple[Callable[[str, np.random.Generator], str], ...] = (
    _insert, _delete, _replace_character, _move_line, _reindent, _change_line_ends, _respell_word,
    _respell_value, _respell_value, _empty_section, _join_documents,
    _change_value, _change_value, _change_value,
)  # fmt: skip
