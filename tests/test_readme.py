"""What README shows is what the program accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codesign.cli import COMMANDS
from codesign.spec.problem import load_problem

README = Path("README.md").read_text(encoding="utf-8")


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    spec = tmp_path / "readme.yaml"
    spec.write_text(block)
    assert load_problem(spec).feasible.size.count > 100


def test_every_command_has_its_line() -> None:
    assert set(re.findall(r"^\| `codesign ([\w-]+)", README, flags=re.MULTILINE)) == set(COMMANDS)


def test_the_shares_of_searches_are_those_of_the_benchmark() -> None:
    found = json.loads(Path("benchmarks/results/search.json").read_text())
    table, lattice = (
        found["fronts"][task]["hypervolume_share_log10"]
        for task in ("frappe-wukong", "frappe-wukong-lattice")
    )

    def shown(scores: Mapping[str, Any], trials: int) -> str:
        at = scores["at"].get(str(trials))
        return "" if at is None else f"{at['median']:.3f}".replace("0.", ".")

    for method, name in (
        ("known_cost", "`known_cost` (ours)"),
        ("ax", "stock Ax"),
        ("optuna_tpe", "Optuna TPE"),
        ("random", "random"),
    ):
        shares = [*(shown(table[method], n) for n in (15, 30, 60)), shown(lattice[method], 30)]
        assert f"| {name} | {' | '.join(shares)} |" in README
    for method, name in (("ax", "stock Ax ranks\nfirst"), ("known_cost", "`known_cost` second")):
        assert f"{name} ({found['ranks']['methods'][method]['mean_rank']:.2f})" in README


def test_the_frappe_table_shows_the_checked_in_result() -> None:
    front = json.loads(Path("benchmarks/results/frappe/front.json").read_text())
    best = next(trial for trial in front["front"] if trial["trial"] == front["best"])
    assert f"**{best['measured']['test_auc']:.4f} ±".replace("0.", ".") in README
    assert best["measured"]["test_auc"] >= 0.9875
    assert best["exact"]["gflop_per_example"] <= 0.010
