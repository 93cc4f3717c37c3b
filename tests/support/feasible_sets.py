"""Feasible sets of every kind that a proposer meets, besides the toy space; each made once."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from codesign.contracts import Design, Feasible
from codesign.designs import as_columns, as_designs
from codesign.spec.problem import Problem, load_problem
from codesign.table import TableSet
from tests.support.toy_space import ToySpace

RARE = {
    "space": {
        "layers": {"low": 1, "high": 8},
        "n_F": {"low": 2, "high": 64, "step": 2},
        "n_L": {"low": 2, "high": 64, "step": 2},
        "k": {"low": 2, "high": 32, "step": 2},
        "mlp_depth": [1, 2, 3],
        "mlp_width": {"low": 16, "high": 1024, "log": True},
        "d": {"low": 8, "high": 128, "step": 8},
        "dense_lr": [0.001, 0.003, 0.01],
    },
    "budgets": {"gflop_per_example": 0.00047},
}
BY_LAYER = {
    "space": {
        "layers": [1, 2, 3],
        "n_F": {"choices": [2, 4, 8], "by_layer": True},
        "n_L": [2, 4],
        "mlp_width": {"choices": [16, 32], "by_layer": True},
        "d": [8, 16],
        "dense_lr": [0.001, 0.003, 0.01],
    },
    "budgets": {"gflop_per_example": 0.00075},
}


def table() -> TableSet:
    """Sixty rows of the toy space with holes between them; some lack a learning rate or a norm."""
    space = ToySpace()
    designs = as_designs(space.sample(60, np.random.default_rng(5)))
    costs = space.costs(as_columns(designs))
    rows = [{**design, "row": at % 7} for at, design in enumerate(designs)]
    holes = [
        {**row, "lr": row["lr"] if at % 5 else None, "norm": row["norm"] if at % 4 else None}
        for at, row in enumerate(rows)
    ]
    kept = list({frozenset(row.items()): at for at, row in enumerate(holes)}.values())
    return TableSet(
        [holes[at] for at in kept], {name: values[kept] for name, values in costs.items()}
    )


@cache
def rare() -> Problem:
    """Wukongs of MovieLens-100k of which one in a hundred thousand is within its budget."""
    return _wukong(RARE)


@cache
def by_layer() -> Problem:
    """Wukongs with widths for each layer: those of layers that a design has not are idle."""
    return _wukong(BY_LAYER)


KINDS = {
    "a table with holes": table,
    "one design in a hundred thousand": lambda: rare().feasible,
    "widths for each layer": lambda: by_layer().feasible,
}


def all_designs(feasible: Feasible) -> list[Design]:
    """List every feasible design of a set of at most some thousands."""
    return as_designs(feasible.sample(100_000, np.random.default_rng(0)))


def _wukong(sections: dict[str, object]) -> Problem:
    spec = {
        "data": {"source": "movielens-100k"},
        "model": {"name": "wukong", "head_depth": 1, "head_width": 64},
        "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
        "search": {"trials": 10},
        **sections,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(yaml.safe_dump(spec))
        return load_problem(path)
