"""What README shows is what the program accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

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


def test_the_frappe_table_shows_the_checked_in_result() -> None:
    front = json.loads(Path("benchmarks/results/frappe/front.json").read_text())
    best = next(trial for trial in front["front"] if trial["trial"] == front["best"])
    assert f"**{best['measured']['test_auc']:.4f} ±".replace("0.", ".") in README
    assert best["measured"]["test_auc"] >= 0.9875
    assert best["exact"]["gflop_per_example"] <= 0.010
