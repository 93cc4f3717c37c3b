"""What is compared: proposers by their names, and samplers of Optuna.

All of them are asked for one design at a time and told its result at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.search.task import Task
from codesign.contracts import Design, Observation
from codesign.errors import MissingPackageError
from codesign.registry import plugin

ROOT = Path(__file__).parents[2]


class Search(Protocol):
    """One search, from its first trial on."""

    def ask(self) -> Design:
        """Choose a design that was not chosen before."""

    def tell(self, observation: Observation) -> None:
        """Learn what the design showed."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to search.

    Attributes:
        start: makes a search of a task from a seed.
        options: its settings, where they are not its own defaults.
        sources: files of this project that decide its choices, as patterns.
        packages: those of others.
        lengths: how long its searches are in families of tasks, in units of the task's length,
            where that is not 1.
        families: how many seeds it has in families of tasks where not all are run.
    """

    name: str
    start: Callable[[Task, int], Search]
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    lengths: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, int] = field(default_factory=dict)

    def seeds(self, family: str, most: int) -> int:
        """How many seeds are run on tasks of a family."""
        return min(most, self.families.get(family, most))

    def trials(self, family: str, length: int) -> int:
        """How many trials its searches have on a task of a family and a length."""
        return round(self.lengths.get(family, 1.0) * length)

    def version(self) -> dict[str, str]:
        """What its choices follow from: its settings, its packages and its sources.

        Raises:
            MissingPackageError: a package is not installed.
        """
        found = {"options": repr(dict(self.options))}
        for package in self.packages:
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                raise MissingPackageError(
                    f"{self.name} needs {package}, which is not installed",
                    hint=f"install it (`make venv` does), or leave {self.name} out by --methods",
                ) from None
        files = sorted(path for pattern in self.sources for path in ROOT.glob(pattern))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
        return {**found, "sources": digest.hexdigest()[:16]} if files else found


class ProposerSearch:
    """A proposer of the registry. It sees the feasible set."""

    def __init__(self, name: str, options: Mapping[str, Any], task: Task, seed: int) -> None:
        module = plugin("proposer", name)
        self._proposer = module.make(task.objectives, module.Options(**options))
        self._feasible, self._seed = task.feasible, seed
        self._observed: list[Observation] = []

    def ask(self) -> Design:
        """As a study asks: trial i is drawn from the seed and i alone."""
        rng = np.random.default_rng([self._seed, len(self._observed)])
        (design,) = self._proposer.ask(self._feasible, self._observed, [], 1, rng)
        return design

    def tell(self, observation: Observation) -> None:
        """See `Search.tell`."""
        self._observed.append(observation)


def proposer(name: str, sources: str, **settings: Any) -> Method:
    """Name a proposer of the registry, and the patterns of its own modules."""
    options = settings.pop("options", {})
    return Method(
        name=name,
        start=partial(ProposerSearch, name, options),
        options=options,
        sources=tuple(f"codesign/search/{pattern}" for pattern in sources.split()),
        **settings,
    )


def optuna(name: str, sampler: str, **options: Any) -> Method:
    """Name a sampler of Optuna, and its settings."""

    def start(task: Task, seed: int) -> Search:
        from benchmarks.search.optuna_search import OptunaSearch

        return OptunaSearch(sampler, options, task, seed)

    return Method(name=name, start=start, options=options, packages=("optuna",))


def stock_ax(task: Task, seed: int) -> Search:
    """Start a search by Ax as it comes."""
    from benchmarks.search.ax_search import AxSearch

    return AxSearch(task, seed)


OURS = "known_cost"
# Ax takes seconds a proposal.
AX_SEEDS = {"BARS": 5, "fitted": 5}
AX_LENGTHS = {"recorded": 0.5, "fitted": 0.5}
RANDOM_LENGTHS = {"BARS": 2.5, "recorded": 2.5, "fitted": 2.5}

METHODS = {
    method.name: method
    for method in (
        proposer(OURS, "**/*.py", packages=("ax-platform", "botorch")),
        Method(
            name="ax",
            start=stock_ax,
            packages=("ax-platform", "botorch"),
            families=AX_SEEDS,
            lengths=AX_LENGTHS,
        ),
        optuna("optuna_tpe", "TPESampler"),
        optuna("optuna_nsga2", "NSGAIISampler", population_size=10),
        proposer("nevergrad", "evolution.py projection.py", packages=("nevergrad",)),
        proposer("regularized_evolution", "regularized_evolution.py"),
        proposer("random", "random.py", lengths=RANDOM_LENGTHS),
    )
}
