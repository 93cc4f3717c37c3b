"""`codesign data prepare`, run as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import codesign
from wukong.data.prepared import open_prepared

DESCRIPTION = """format: csv
files: a.csv
split: {by: random, shares: [1, 1, 1]}
columns:
  label: {type: label}
  item: {type: categorical}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(DESCRIPTION)
    (tmp_path / "a.csv").write_text("label,item\n" + "0,a\n1,b\n" * 50 + "x,c\n")
    return tmp_path


def test_prepare_makes_a_folder_that_a_study_can_open(folder: Path) -> None:
    out = folder / "out"
    done = codesign(
        *("data", "prepare", folder / "a.yaml", "--data", folder, "--out", out),
        *("--skip-bad", 1, "--json"),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["skipped_rows"]["count"] == 1
    assert "a.csv:102:1: label is 'x'" in summary["skipped_rows"]["first"][0]
    assert summary["rows"] == dict(open_prepared(out).row_counts)
    assert "learning from train, 100 rows" in done.stderr


def test_the_summary_names_rows_and_what_was_left_out(folder: Path) -> None:
    done = codesign(
        *("data", "prepare", folder / "a.yaml", "--data", folder / "a.csv"),
        *("--out", folder / "out", "--skip-bad", 3),
    )
    assert done.returncode == 0, done.stderr
    for words in ("validation", "1 malformed rows were left out", "a.csv:102:1", "label: base"):
        assert words in done.stdout


def test_a_malformed_row_ends_with_the_code_of_data_errors_and_its_place(folder: Path) -> None:
    done = codesign("data", "prepare", folder / "a.yaml", "--data", folder, "--out", folder / "out")
    assert done.returncode == 3
    assert "a.csv:102:1: label is 'x'; must be 1 or true or 0 or false" in done.stderr
    assert not (folder / "out").exists()
