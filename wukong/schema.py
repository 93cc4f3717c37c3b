"""What one example consists of: the features of a data set. Standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
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
    """The features of a data set, in the order in which models see them."""

    categorical: tuple[CategoricalFeature, ...]
    dense: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [f.name for f in self.categorical] + list(self.dense)
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ConfigError(f"features named twice: {', '.join(twice)}")
        if not names:
            raise ConfigError("a schema needs at least one feature")

    @property
    def one_hot(self) -> tuple[CategoricalFeature, ...]:
        """Features with exactly one id an example, in order."""
        return tuple(f for f in self.categorical if not f.multi_hot)

    @property
    def multi_hot(self) -> tuple[CategoricalFeature, ...]:
        """Features with any number of ids an example, in order."""
        return tuple(f for f in self.categorical if f.multi_hot)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        return {
            "categorical": [vars(f).copy() for f in self.categorical],
            "dense": list(self.dense),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> InputSchema:
        """Rebuild a schema written by `to_json`."""
        return cls(
            categorical=tuple(CategoricalFeature(**f) for f in fields["categorical"]),
            dense=tuple(fields["dense"]),
        )
