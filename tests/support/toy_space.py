"""A small feasible set whose every design can be listed: the proposers' test bench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from codesign.contracts import Columns, Design, LogNormal, Proposer, Value
from codesign.designs import as_columns

LEVELS: Mapping[str, tuple[Value, ...]] = {
    "width": tuple(range(8, 129, 8)),
    "depth": (1, 2, 3, 4, 5, 6),
    "lr": (0.001, 0.003, 0.01, 0.03),
    "norm": ("none", "batch", "layer"),
    "bias": (False, True),
    "loss": ("log_loss",),
}


@dataclass(frozen=True, kw_only=True)
class ToySpace:
    """The lattice of `levels` within `budget_gflop_per_example`; `rate` is predicted."""

    levels: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: LEVELS)
    budget_gflop_per_example: float = 0.05
    log_sd: float = 0.3

    def all_designs(self) -> list[Design]:
        """List every feasible design."""
        designs = [
            dict(zip(self.levels, row, strict=True)) for row in product(*self.levels.values())
        ]
        gflop = self.costs(self._columns(designs))["gflop_per_example"]
        return [d for d, g in zip(designs, gflop, strict=True) if self._fits(g)]

    def sample(self, n: int, rng: np.random.Generator) -> Columns:
        """Draw up to `n` distinct designs."""
        designs = self.all_designs()
        return self._columns([designs[i] for i in rng.permutation(len(designs))[:n]])

    def neighbours(self, design: Design) -> Columns:
        """All feasible designs one step of one knob away."""
        found: list[Design] = []
        for name, levels in self.levels.items():
            at = levels.index(design[name])
            ordered = isinstance(levels[0], int | float)
            others = (at - 1, at + 1) if ordered else range(len(levels))
            steps = [i for i in others if 0 <= i < len(levels) and i != at]
            found += [{**design, name: levels[i]} for i in steps]
        gflop = self.costs(self._columns(found))["gflop_per_example"]
        return self._columns([d for d, g in zip(found, gflop, strict=True) if self._fits(g)])

    def encode(self, columns: Columns) -> np.ndarray[Any, Any]:
        """One feature in [0, 1] for every ordered knob, one-hot for choices."""
        features = []
        for name, levels in self.levels.items():
            ranks = np.array([levels.index(v) for v in np.asarray(columns[name]).tolist()])
            if len(levels) > 1 and isinstance(levels[0], str):
                features += [(ranks == i).astype(np.float64) for i in range(len(levels))]
            elif len(levels) > 1:
                features.append(ranks / (len(levels) - 1))
        rows = len(columns[next(iter(self.levels))])
        return np.stack(features, axis=1) if features else np.zeros((rows, 1))

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Count as a stack of square layers would."""
        weights = columns["depth"] * np.square(np.asarray(columns["width"], dtype=np.float64))
        return {"gflop_per_example": 6e-7 * weights, "parameters": weights}

    def predicted(self, columns: Columns) -> dict[str, LogNormal]:
        """A rate that falls with size, with equal uncertainty everywhere."""
        median = 1e6 / np.sqrt(100.0 + self.costs(columns)["parameters"])
        return {"rate": LogNormal(median=median, log_sd=np.full(len(median), self.log_sd))}

    def _fits(self, gflop_per_example: float) -> bool:
        return bool(gflop_per_example <= self.budget_gflop_per_example)

    def _columns(self, designs: list[Design]) -> Columns:
        return {name: np.array([d[name] for d in designs]) for name in self.levels}


def log_loss(design: Design) -> float:
    """A smooth quality with one best learning rate and falling returns of size."""
    width, depth, lr = float(design["width"]), float(design["depth"]), float(design["lr"])
    size = 0.2 / np.sqrt(width / 8) + 0.1 / depth
    norm = {"none": 0.03, "batch": 0.0, "layer": 0.01}[str(design["norm"])]
    return float(0.4 + size + 0.02 * np.log(lr / 0.01) ** 2 + norm + 0.01 * (not design["bias"]))


def fill(proposer: Proposer, space: ToySpace, trials: int, *, seed: int) -> list[Design]:
    """Propose one design after another, all of them pending."""
    designs: list[Design] = []
    for i in range(trials):
        designs += proposer.ask(space, [], designs, 1, np.random.default_rng([seed, i]))
    return designs


def distance_to_nearest(space: ToySpace, designs: list[Design]) -> float:
    """The mean distance from a feasible design to the nearest of some, in encoded space."""
    everything = space.encode(as_columns(space.all_designs()))
    chosen = space.encode(as_columns(designs))
    return float(np.linalg.norm(everything[:, None] - chosen[None], axis=2).min(axis=1).mean())
