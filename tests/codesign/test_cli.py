"""The command line as a person or a script meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import codesign
from tests.support.toy_spec import write_spec


def test_help_lists_the_commands() -> None:
    done = codesign("--help")
    assert done.returncode == 0
    for name in ("optimize", "validate", "cost", "train", "report"):
        assert f"\n  {name} " in done.stdout


def test_a_mistyped_command_names_the_nearest() -> None:
    done = codesign("optimise")
    assert done.returncode == 2
    assert "did you mean 'optimize'?" in done.stderr


def test_optimize_without_a_terminal_prints_a_line_per_trial_and_the_front(
    tmp_path: Path,
) -> None:
    done = codesign("optimize", write_spec(tmp_path), "--study", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "toy: 255 of 320 designs are within the budgets (79.7%)"
    assert [line.split()[0] for line in lines[1:]] == [f"[{i}/6]" for i in range(1, 7)]
    assert "log loss" in done.stdout
    assert str(tmp_path / "s/report.html") in done.stdout


def test_json_output_is_one_document(tmp_path: Path) -> None:
    done = codesign("optimize", write_spec(tmp_path), "--study", tmp_path / "s", "--json")
    found = json.loads(done.stdout)
    assert found["folder"] == str(tmp_path / "s")
    assert found["front"]
    again = json.loads(codesign("report", tmp_path / "s", "--json").stdout)
    assert again["front"] == found["front"]


def test_validate_counts_the_feasible_designs(tmp_path: Path) -> None:
    done = codesign("validate", write_spec(tmp_path), "--json")
    found = json.loads(done.stdout)
    assert found["designs"] == 320
    assert found["feasible_is_exact"] is True
    assert found["costs"]["gflop_per_example"]["least"] == pytest.approx(0.004)
    assert codesign("validate", write_spec(tmp_path)).stdout.startswith("toy is valid: 320 designs")


@pytest.mark.parametrize(
    ("section", "code", "message"),
    [
        ({"seed": -1}, 2, "seed is -1; must be ≥ 0"),
        ({"budgets": {"gflop_per_example": 0.001}}, 4, "the cheapest design needs"),
    ],
)
def test_errors_have_exit_codes_by_kind_and_no_traceback(
    tmp_path: Path, section: dict, code: int, message: str
) -> None:
    done = codesign("optimize", write_spec(tmp_path, **section), "--study", tmp_path / "s")
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_missing_spec_is_named() -> None:
    done = codesign("optimize", "nowhere.yaml")
    assert (done.returncode, done.stderr) == (
        2,
        "error: nowhere.yaml: cannot be read: No such file or directory\n",
    )


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from codesign.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ax', 'jsonschema', 'numpy', 'yaml', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_init_writes_a_spec_that_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert codesign("init", path).returncode == 0
    found = json.loads(codesign("validate", path, "--json").stdout)
    assert 0 < found["feasible_share"] < 1
    text = path.read_text()
    again = codesign("init", path)
    assert (again.returncode, path.read_text()) == (2, text)
    assert "exists already" in again.stderr


def test_the_examples_in_comments_of_the_starter_are_valid_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    codesign("init", path)
    lines = path.read_text().splitlines()
    knobs = [
        line for line in lines if re.match(r"  # (head_norm|head_dropout|n_F|mlp_width): ", line)
    ]
    assert len(knobs) == 4
    shown = {line.split(":")[0].strip(" #") for line in knobs}
    kept = [line for line in lines if line.split(":")[0].strip() not in shown - {"head_norm"}]
    at = next(i for i, line in enumerate(kept) if line.startswith("space:")) + 1
    kept[at:at] = [line.replace("# ", "", 1) for line in knobs]
    text = "\n".join(line for line in kept if not line.startswith("baseline"))
    path.write_text(text.replace("  # fidelity:", "  fidelity:"))
    assert "\n  fidelity:" in path.read_text()
    done = codesign("validate", path)
    assert done.returncode == 0, done.stderr
