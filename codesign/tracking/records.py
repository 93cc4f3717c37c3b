"""What a tracker is told: runs with their settings, rows by step, and summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns by name, and rows of as many values."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An interactive chart, as Plotly's JSON."""

    json: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """An HTML file."""

    path: Path


Shown: TypeAlias = float | int | str | Table | Figure | Page


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a tracker shows of one trial, or of the study as a whole.

    Attributes:
        id: unique and stable; unchanged by restarts, requeues and moves of the study's folder.
        rows: step → what belongs to it; a step never changes once it is there.
        state: changes whenever a run that was over has more to show.
        over: whether it has ended, for now; failed: whether that was a failure.
    """

    id: str
    name: str
    kind: str
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[int, Mapping[str, Shown]] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    over: bool = False
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a tracker holds of one run for good.

    Attributes:
        step: the latest; -1: none.
        state: of the run when it was closed.
        folders: names of those that it was written into, in order of time.
    """

    step: int = -1
    state: str = ""
    folders: tuple[str, ...] = ()


class OpenRun(Protocol):
    """A run that is being written."""

    step: int
    """The latest step that it holds; -1: none."""

    def log(self, step: int, row: Mapping[str, Shown]) -> None:
        """Add the row of a step beyond the latest."""

    def finish(self, summary: Mapping[str, Any], *, failed: bool) -> str:
        """Write the summary and close, when all is kept or sent; return the folder's name."""


class Tracker(Protocol):
    """Shows runs somewhere."""

    def open(self, run: Run, kept: Kept) -> OpenRun:
        """Begin a run, or go on with one; what was written of it and is not kept is removed."""
