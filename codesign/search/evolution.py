"""Any optimizer of nevergrad, by its name in nevergrad's registry. Only home of nevergrad here.

nevergrad sees the lattice: the ordered knobs as one array of level numbers, every word as a
choice. It knows no budgets, so each point that it asks for is answered by the nearest feasible
design that is not taken, and it is told what that design has shown. The optimizer is rebuilt by
the same asks and tells wherever the trials do not continue those that it has seen.
"""

from __future__ import annotations

import random
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nevergrad as ng
import numpy as np

from codesign.designs import as_columns
from codesign.errors import ConfigError
from codesign.registry import nearest
from codesign.search.candidates import sample_unseen, seed_of, taken_designs
from codesign.search.losses import observed_losses
from codesign.search.projection import nearest_untaken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from codesign.contracts import Design, Feasible, Objective, Observation, Proposer, Value


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a search by nevergrad.

    Attributes:
        optimizer: a name of nevergrad's registry.
        budget: trials that the optimizer plans for, ≥ 1; doubled as often as more are run.
    """

    optimizer: str = "NGOpt"
    budget: int = 100

    def __post_init__(self) -> None:
        registry = ng.optimizers.registry
        if self.optimizer not in registry:
            raise ConfigError(
                f"optimizer is {self.optimizer!r}, which nevergrad does not have; "
                + nearest(str(self.optimizer), registry)
            )
        if type(self.budget) is not int or self.budget < 1:
            raise ConfigError(f"budget is {self.budget}; must be a whole number ≥ 1")


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What an optimizer is made of."""

    name: str
    levels: Mapping[str, tuple[Value, ...]]
    budget: int
    workers: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class _Told:
    """One tell: a design and its losses (O,), less is better."""

    design: Design
    losses: tuple[float, ...]


class _Run:
    """An optimizer, and as many points that it waits for as there are workers.

    Attributes:
        told: all tells so far.
    """

    def __init__(self, setting: _Setting) -> None:
        self.setting = setting
        self.told: list[_Told] = []
        with self._random_state():
            parametrization = _parametrization(setting.levels)
            parametrization.random_state = np.random.RandomState(setting.seed)
            self._optimizer = ng.optimizers.registry[setting.name](
                parametrization=parametrization, budget=setting.budget, num_workers=setting.workers
            )
            self._open = [self._optimizer.ask() for _ in range(setting.workers)]

    def wishes(self) -> list[Design]:
        """Return the designs of the points it waits for, feasible or not, the oldest first."""
        return [_design(self.setting.levels, point.value) for point in self._open]

    def tell(self, feasible: Feasible, told: _Told) -> None:
        """Close the nearest of the points it waits for, and ask for a new one.

        A design is the nearest feasible one to a point that was asked for. That point is told
        of: some optimizers take no others, and some that do lose their reproducibility.
        """
        at = 0
        if len(self._open) > 1:
            features_PF = feasible.encode(as_columns([*self.wishes(), told.design]))
            at = int(np.square(features_PF[:-1] - features_PF[-1]).sum(axis=1).argmin())
        with self._random_state():
            self._optimizer.tell(self._open.pop(at), list(told.losses))
            self._open.append(self._optimizer.ask())
        self.told.append(told)

    @contextmanager
    def _random_state(self) -> Iterator[None]:
        """Let optimizers that draw from the global states draw the same, and put them back."""
        states = np.random.get_state(), random.getstate()  # noqa: NPY002 (see above)
        step = zlib.crc32(f"{self.setting.seed} {len(self.told)}".encode())
        np.random.seed(step)  # noqa: NPY002
        random.seed(step)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            np.random.set_state(states[0])  # noqa: NPY002
            random.setstate(states[1])


@dataclass(kw_only=True)
class NevergradSearch:
    """See the module. The optimizer kept between calls is a cache."""

    objectives: tuple[Objective, ...]
    options: Options
    _run: _Run | None = field(default=None, init=False)

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation],
        pending: Sequence[Design],
        n: int,
        rng: np.random.Generator,
    ) -> list[Design]:
        """See `Proposer.ask`.

        Raises:
            ConfigError: a completed trial lacks an objective.
        """
        taken = taken_designs(observed, pending)
        if n < 1:
            return []
        # The first design is drawn, and all of the optimizer's randomness follows from it.
        first = [] if taken else sample_unseen(feasible, taken, 1, rng)
        begun = [*taken, *first]
        searched = any(len(values) > 1 for values in feasible.levels.values())
        if not searched or not begun or len(first) == n:
            return first
        trials, losses_NO = observed_losses(feasible, self.objectives, observed)
        told = [
            _Told(design=o.design, losses=tuple(losses_O))
            for o, losses_O in zip(trials, losses_NO.tolist(), strict=True)
        ]
        setting = self._setting(feasible, begun, len(told), len(pending) + n)
        run = self._continued(setting, told)
        for each in told[len(run.told) :]:
            run.tell(feasible, each)
        wanted = n - len(first)
        wishes = (run.wishes() * n)[-wanted:]
        return first + nearest_untaken(feasible, wishes, begun, wanted, rng)

    def _setting(
        self, feasible: Feasible, begun: Sequence[Design], told: int, workers: int
    ) -> _Setting:
        budget = self.options.budget
        while budget < told + workers:
            budget *= 2
        one_by_one = ng.optimizers.registry[self.options.optimizer].no_parallelization
        return _Setting(
            name=self.options.optimizer,
            levels=feasible.levels,
            budget=budget,
            workers=1 if one_by_one else workers,
            seed=seed_of(begun[0]),
        )

    def _continued(self, setting: _Setting, told: Sequence[_Told]) -> _Run:
        """Return the run that these tells continue: the one at hand, else a new one."""
        run = self._run
        if run is None or run.setting != setting or run.told != told[: len(run.told)]:
            run = self._run = _Run(setting)
        return run


def make(objectives: Sequence[Objective], options: Options) -> Proposer:
    """Make a search by nevergrad.

    Raises:
        ConfigError: no objective is given.
    """
    if not objectives:
        raise ConfigError("nevergrad needs at least one objective; none is given")
    return NevergradSearch(objectives=tuple(objectives), options=options)


def _parametrization(levels: Mapping[str, tuple[Value, ...]]) -> ng.p.Dict:
    """Describe the lattice to nevergrad, by level numbers; knobs of one level are left out."""
    counts = {name: len(values) for name, values in levels.items() if len(values) > 1}
    ordered = [name for name in counts if _is_ordered(levels[name])]
    choices = {
        name: ng.p.Choice(range(count)) for name, count in counts.items() if name not in ordered
    }
    words = ng.p.Dict(**choices)
    if not ordered:
        return ng.p.Dict(words=words)
    last_K = np.array([counts[name] - 1.0 for name in ordered])
    low_K, high_K = np.full_like(last_K, -0.49), last_K + 0.49
    numbers = ng.p.Array(init=last_K / 2.0, lower=low_K, upper=high_K)
    return ng.p.Dict(words=words, numbers=numbers.set_integer_casting())


def _design(levels: Mapping[str, tuple[Value, ...]], point: Mapping[str, Any]) -> Design:
    """Turn nevergrad's level numbers into a design."""
    numbers = iter(point.get("numbers", ()))
    design: dict[str, Value] = {}
    for name, values in levels.items():
        if len(values) == 1:
            level = 0
        elif _is_ordered(values):
            level = int(np.clip(round(float(next(numbers))), 0, len(values) - 1))
        else:
            level = int(point["words"][name])
        design[name] = values[level]
    return design


def _is_ordered(values: Sequence[Value]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
