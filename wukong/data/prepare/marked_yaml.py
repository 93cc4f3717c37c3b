"""YAML as text with places: whoever takes a value says what it must be.

No scalar is guessed to be a number, a truth value or a date; a key that stands twice is a mistake.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from codesign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Value:
    """One value of a file; what it is not is noted among the file's mistakes.

    Attributes:
        key: what messages call it.
        mistakes: of the whole file, in the order in which they were found.
    """

    key: str
    node: yaml.Node
    file: str
    mistakes: list[str]

    def refuse(self, what: str) -> None:
        """Note a mistake at this place."""
        mark = self.node.start_mark
        self.mistakes.append(f"{self.file}:{mark.line + 1}: {self.key or 'the file'} {what}")

    def mapping(self, allowed: Collection[str] | None = None) -> dict[str, Value]:
        """Return the values of a mapping by key; None allows every key."""
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse(f"is {self.shown()}; must be a mapping")
            return {}
        found: dict[str, Value] = {}
        for key_node, node in self.node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._inner(self.key, key_node).refuse("has a key that is no text")
                continue
            name = str(key_node.value)
            inner = self._inner(f"{self.key}.{name}" if self.key else name, node)
            at_key = self._inner(inner.key, key_node)
            if name in found:
                at_key.refuse("stands here again; must be given once")
            elif allowed is not None and name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1)
                known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(allowed)}"
                at_key.refuse(f"is unknown; {known}")
            else:
                found[name] = inner
        return found

    def text(self) -> str:
        """Return a scalar as it is written."""
        if isinstance(self.node, yaml.ScalarNode):
            return str(self.node.value)
        self.refuse("must be text")
        return ""

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts; one text is a list of one."""
        if isinstance(self.node, yaml.SequenceNode):
            return tuple(item.text() for item in self._items())
        return (self.text(),)

    def choice(self, *allowed: str) -> str:
        """Return one of some texts."""
        found = self.text()
        if found in allowed:
            return found
        self.refuse(f"is {found!r}; must be one of {', '.join(allowed)}")
        return allowed[0]

    def number(self, low: float = -math.inf) -> float:
        """Return a finite number from `low` on."""
        try:
            found = float(self.text())
        except ValueError:
            found = math.nan
        if math.isfinite(found) and found >= low:
            return found
        bound = f" ≥ {low:g}" if math.isfinite(low) else ""
        self.refuse(f"is {self.shown()}; must be a number{bound}")
        return 1.0

    def exact(self, low: float = -math.inf) -> float:
        """Return a finite number from `low` on, as an integer where it is written as one."""
        found, text = self.number(low), self.text()
        is_whole = text.removeprefix("-").isdecimal() and text.isascii()
        return int(text) if is_whole and abs(found) < 2**63 else found

    def numbers(self, count: int, low: float = -math.inf) -> tuple[float, ...]:
        """Return a list of so many numbers, whole ones with all their digits."""
        if isinstance(self.node, yaml.SequenceNode) and len(self.node.value) == count:
            return tuple(item.exact(low) for item in self._items())
        self.refuse(f"is {self.shown()}; must be a list of {count} numbers")
        return (1.0,) * count

    def whole(self, low: int, high: int = 10**18) -> int:
        """Return a whole number from `low` to `high`."""
        text = self.text()
        # int refuses thousands of digits.
        if text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high:
            return int(text)
        bound = f" and ≤ {high}" if high < 10**18 else ""
        self.refuse(f"is {self.shown()}; must be a whole number ≥ {low}{bound}")
        return low

    def shown(self) -> str:
        """Show the value in a message."""
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value)
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"

    def _items(self) -> list[Value]:
        return [self._inner(f"{self.key}[{i}]", node) for i, node in enumerate(self.node.value)]

    def _inner(self, key: str, node: yaml.Node) -> Value:
        return Value(key=key, node=node, file=self.file, mistakes=self.mistakes)


def read_marked(path: Path) -> Value:
    """Read the one document of a YAML file.

    Raises:
        DataError: where it cannot be read, is empty, or is not YAML.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise DataError(f"is not YAML: {error.problem}", where=where) from error
    except RecursionError as error:
        raise DataError("is nested too deeply", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"is not YAML: {reason}", where=str(path)) from error
    if root is None:
        raise DataError("the file is empty", where=str(path))
    return Value(key="", node=root, file=str(path), mistakes=[])
