"""What one example consists of: features, and a label for each task. Standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from codesign.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CategoricalFeature:
    """A feature looked up in an embedding table.

    Attributes:
        cardinality: rows of its table, ≥ 1; ids are 0 … cardinality - 1.
        multi_hot: several ids an example (possibly none), pooled; else exactly one.
        pooling: how the looked-up rows of one example become one (multi-hot only).
    """

    name: str
    cardinality: int
    multi_hot: bool = False
    pooling: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        if self.cardinality < 1:
            raise ConfigError(
                f"feature {self.name!r} has cardinality {self.cardinality}; must be ≥ 1"
            )


@dataclass(frozen=True, kw_only=True)
class InputSchema:
    """The features of a data set, in the order in which models see them, and what is predicted.

    Attributes:
        tasks: what each column of the labels says, e.g. `("ctr", "cvr")`; a model has a head for
            each. The names of several tasks are identifiers: they stand in names of metrics,
            `auc.ctr`.

    Raises:
        ConfigError: no feature or no task, or a name that cannot be.
    """

    categorical: tuple[CategoricalFeature, ...]
    dense: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("label",)

    def __post_init__(self) -> None:
        names = [f.name for f in self.categorical] + list(self.dense)
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ConfigError(f"features named twice: {', '.join(twice)}")
        if not names:
            raise ConfigError("a schema needs at least one feature")
        mistakes = task_mistakes(self.tasks)
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        # Another process has other hashes.
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    @property
    def one_hot(self) -> tuple[CategoricalFeature, ...]:
        """Features with exactly one id an example, in order."""
        return tuple(f for f in self.categorical if not f.multi_hot)

    @property
    def multi_hot(self) -> tuple[CategoricalFeature, ...]:
        """Features with any number of ids an example, in order."""
        return tuple(f for f in self.categorical if f.multi_hot)

    @cached_property
    def _hash(self) -> int:
        """Of hundreds of features, as a key of what is counted again and again."""
        return hash((self.categorical, self.dense, self.tasks))

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        return {
            "categorical": [vars(f).copy() for f in self.categorical],
            "dense": list(self.dense),
            "tasks": list(self.tasks),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> InputSchema:
        """Rebuild a schema written by `to_json`, also by one that knew no tasks."""
        return cls(
            categorical=tuple(CategoricalFeature(**f) for f in fields["categorical"]),
            dense=tuple(fields["dense"]),
            **({"tasks": tuple(fields["tasks"])} if "tasks" in fields else {}),
        )


def task_mistakes(tasks: Sequence[str]) -> list[str]:
    """Say what is wrong with the names of all tasks of a data set (an empty list: nothing)."""
    if not tasks:
        return ["a schema needs at least one task"]
    twice = sorted(name for name, count in Counter(tasks).items() if count > 1)
    mistakes = [f"tasks named twice: {', '.join(twice)}"] if twice else []
    if len(tasks) > 1:
        mistakes += [
            f"task {name!r} cannot be told apart in names of metrics such as auc.{name}; "
            "must be letters, digits and _, not beginning with a digit"
            for name in tasks
            if not name.isidentifier()
        ]
    return mistakes
