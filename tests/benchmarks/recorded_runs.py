"""A small table in the form that `record_table.py` writes, of made-up results."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.frappe import lattice
from codesign.designs import as_columns, as_designs

SPEC = Path("benchmarks/tables/frappe-wukong.yaml")
FEWER_LEVELS = {
    "layers": "[1, 2]",
    "dropout": "[0.0, 0.2]",
    "table_l2": "[0.0, 0.003]",
}


def small_spec() -> str:
    """Thin the recorded table's space out."""
    text = SPEC.read_text(encoding="utf-8")
    for name, levels in FEWER_LEVELS.items():
        text, changed = re.subn(rf"(?m)^  {name}: .*$", f"  {name}: {levels}", text)
        assert changed == 1
    return text


def run_lines(count: int) -> list[dict[str, Any]]:
    """Make runs of designs of the thinned space; number 4 diverges."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / SPEC.name
        spec.write_text(small_spec())
        feasible = lattice(spec)
    designs = as_designs(feasible.sample(count, np.random.default_rng(0)))
    costs = feasible.costs(as_columns(designs))
    return [
        {
            "number": i,
            "design": design,
            "seed": 7 * i,
            "failure": "diverged" if i == 4 else None,
            "metrics": {} if i == 4 else {"log_loss": loss(design), "auc": 0.9},
            "costs": {name: float(values[i]) for name, values in costs.items()},
            "curve": [[100, 0.5, 0.4, 0.8], [200, 0.3, 0.35, 0.9]],
            "seconds": 1.5,
            "made_by": {"commit": "abc"},
        }
        for i, design in enumerate(designs)
    ]


def loss(design: dict[str, Any]) -> float:
    """A smooth loss with a best learning rate."""
    rate = np.log10(design["dense_lr"] / 0.003)
    return float(0.2 + 0.1 / design["d"] + 0.05 * rate**2 - 0.01 * design["layers"])


def write_table(folder: Path, lines: list[dict[str, Any]]) -> Path:
    """Write the lines, and the spec beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC.name).write_text(small_spec())
    path = folder / SPEC.with_suffix(".jsonl").name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
