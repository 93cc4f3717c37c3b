"""Our recorded table of Wukongs on Frappe, and its whole lattice, which a fit to the table answers.

N designs, M features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.recorded import Run, read_runs, table_set
from benchmarks.search.surrogate import Surrogate, fit
from benchmarks.search.task import COMPUTE, LOSS, Array, Task, fingerprint
from codesign.budgets import FeasibleSet
from codesign.contracts import Columns, Design, Metric, Observation
from codesign.designs import as_columns
from codesign.spec.lattice import make_space
from codesign.spec.problem import load_spec
from cost_models import exact
from wukong.schema import CategoricalFeature, InputSchema
from wukong.task import METRICS, SETTINGS

TABLE = Path(__file__).parents[1] / "tables" / "frappe-wukong.jsonl"
TRIALS = 60
# Frappe's ten columns; how many values each has does not change the compute of a design.
SCHEMA = InputSchema(
    categorical=tuple(CategoricalFeature(name=f"c{i}", cardinality=100) for i in range(10))
)


def recorded_task(path: Path, *, rows: int | None = None) -> Task:
    """The table itself: its rows are the only designs."""
    runs = read_runs(path, rows=rows)
    table = table_set(runs)

    def answer(design: Design) -> Observation:
        (row,) = table.rows_of(as_columns([design]))
        return observation(design, runs[row])

    return Task(
        name=path.stem,
        family="recorded",
        objectives=(LOSS, COMPUTE),
        feasible=table,
        designs=as_columns(table.designs),
        values_RO=np.array([values(run) for run in runs]),
        answer=answer,
        trials=TRIALS,
        fingerprint=fingerprint([(run.design, values(run)) for run in runs]),
    )


def observation(design: Design, run: Run) -> Observation:
    """What a run showed of its design."""
    if run.failure is not None:
        return Observation(design=design, metrics={}, failure=run.failure)
    return Observation(design=design, metrics={**run.costs, **run.metrics})


def values(run: Run) -> tuple[float, float]:
    """Log loss (NaN where the run failed) and GFLOP/example."""
    return run.metrics.get("log_loss", np.nan), run.costs["gflop_per_example"]


def lattice_task(path: Path, *, rows: int | None = None) -> tuple[Task, Surrogate]:
    """The whole feasible lattice of the table's space, as a fit to the table answers; and the fit.

    The space is that of the spec beside the table. Compute is counted, not fitted.
    """
    runs = [run for run in read_runs(path, rows=rows) if run.failure is None]
    feasible = lattice(path.with_suffix(".yaml"))
    surrogate = fit(features(feasible, as_columns([r.design for r in runs])), losses(runs))
    everything = feasible.sample(feasible.space.size, np.random.default_rng(0))
    gflop_N = feasible.costs(everything)[COMPUTE.metric]
    loss_N = surrogate.predict(features(feasible, everything))

    def answer(design: Design) -> Observation:
        columns = as_columns([design])
        (loss,) = surrogate.predict(features(feasible, columns))
        costs = {name: float(cost[0]) for name, cost in feasible.costs(columns).items()}
        return Observation(design=design, metrics={**costs, LOSS.metric: float(loss)})

    task = Task(
        name=f"{path.stem}-lattice",
        family="fitted",
        objectives=(LOSS, COMPUTE),
        feasible=feasible,
        designs=everything,
        values_RO=np.stack([loss_N, gflop_N], axis=1),
        answer=answer,
        trials=TRIALS,
        fingerprint=fingerprint(
            [(run.design, values(run)) for run in runs],
            dict(feasible.levels),
            dict(feasible.budgets),
            surrogate.name,
            metadata.version("scikit-learn"),
        ),
    )
    return task, surrogate


def losses(runs: list[Run]) -> Array:
    """Their log losses, (N,)."""
    return np.array([run.metrics[LOSS.metric] for run in runs])


def features(feasible: FeasibleSet, columns: Columns) -> Array:
    """What the fit sees of designs: the lattice's encoding, and log10 GFLOP/example; (N, M)."""
    gflop_N = feasible.costs(columns)[COMPUTE.metric]
    return np.column_stack([feasible.encode(columns), np.log10(gflop_N)])


def lattice(spec: Path) -> FeasibleSet:
    """Return the feasible set of a space on Frappe, whose data need not be there."""
    loaded = load_spec(spec)
    settings = {name: value for name, value in loaded.spec.model.items() if name != "name"}
    space = make_space(loaded.spec.space, loaded.spec.model, loaded.family)
    return FeasibleSet(space, FrappeCosts(settings=settings), loaded.spec.budgets)


@dataclass(frozen=True, kw_only=True)
class FrappeCosts:
    """Counts the compute of designs on Frappe's columns; satisfies `codesign.contracts.Costs`."""

    settings: Mapping[str, Any]
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)

    def costs(self, columns: Columns) -> dict[str, Array]:
        """See `cost_models.exact.costs`."""
        return self.cost_floor(columns, columns)

    def cost_floor(self, low: Columns, high: Columns) -> dict[str, Array]:
        """See `cost_models.exact.cost_floor`."""
        rows = len(next(iter(low.values())))
        floor = exact.cost_floor(self._shapes(low), self._shapes(high), SCHEMA)
        return {COMPUTE.metric: np.broadcast_to(floor[COMPUTE.metric], (rows,))}

    def _shapes(self, columns: Columns) -> dict[str, Any]:
        shape = {name: column for name, column in columns.items() if name in SETTINGS["model"]}
        return {**self.settings, **shape}
