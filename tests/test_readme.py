"""What README shows is what the program accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codesign.cli import COMMANDS
from codesign.spec.problem import load_problem
from cost_models.table5 import ROWS, our_count

README = Path("README.md").read_text(encoding="utf-8")


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    spec = tmp_path / "readme.yaml"
    spec.write_text(block)
    assert load_problem(spec).feasible.size.count > 100


def test_every_command_has_its_line() -> None:
    assert set(re.findall(r"^\| `codesign (\w+)", README, flags=re.MULTILINE)) == set(COMMANDS)


def test_every_file_and_make_target_named_is_there() -> None:
    for name in re.findall(r"(?:spaces|docs|requirements|benchmarks)/[\w./-]*\w", README):
        assert Path(name).exists(), name
    makefile = Path("Makefile").read_text()
    for target in re.findall(r"make ([a-z][a-z-]*[a-z])\b", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_counts_beside_table_5_are_ours(row: object) -> None:
    ours = our_count(row)["gflop_per_example"]  # type: ignore[arg-type]
    published = row.gflop_per_example  # type: ignore[attr-defined]
    error = f"{100 * (ours / published - 1):+.0f}%".replace("-", "−").replace("+0%", "0%")
    line = f"| {published:g} | {ours:.2f} | {error} |"
    assert line in README


def test_the_frappe_table_shows_the_checked_in_result() -> None:
    import json

    front = json.loads(Path("benchmarks/results/frappe/front.json").read_text())
    best = next(trial for trial in front["front"] if trial["trial"] == front["best"])
    assert f"**{best['measured']['test_auc']:.4f} ±".replace("0.", ".") in README
    assert best["measured"]["test_auc"] >= 0.9875
    assert best["exact"]["gflop_per_example"] <= 0.010
