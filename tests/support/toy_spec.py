"""Writes small spec files over the toy task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TOY_SPEC: dict[str, Any] = {
    "data": {"source": "toy"},
    "model": {"name": "tests.support.toy_task"},
    "space": {
        "width": {"low": 1, "high": 16},
        "depth": {"low": 1, "high": 4},
        "lr": {"low": 0.001, "high": 0.1, "log": True, "points": 5},
    },
    "budgets": {"gflop_per_example": 0.04},
    "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
    "search": {"trials": 6, "proposer": "random"},
    "launch": {"workers": 1},
    "seed": 3,
}


def write_spec(folder: Path, **sections: Any) -> Path:
    """Write the toy spec with some sections replaced (None: left out)."""
    values = {**TOY_SPEC, **sections}
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
    return path
