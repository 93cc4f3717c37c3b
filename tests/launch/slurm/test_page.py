"""The YAML of docs/slurm.md is what the check of specs accepts."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from codesign import api
from launch.slurm.client import KEPT, environment
from launch.slurm.executor import STILLBORN
from launch.slurm.looks import AT_MOST_EVERY_S, SHARE
from launch.slurm.submission import FULL_QUEUE_S
from tests.support.toy_spec import write_spec

PAGE = (Path(__file__).parents[3] / "docs/slurm.md").read_text(encoding="utf-8")


def test_every_section_of_the_page_is_accepted(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        launch = yaml.safe_load(block)["launch"]
        api.validate(write_spec(tmp_path, launch=launch))
        assert api.preview_launch(write_spec(tmp_path, launch=launch), study=tmp_path / "study")


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    assert "a twentieth of the time; 30 s at most" in PAGE
    assert (SHARE, AT_MOST_EVERY_S) == (0.05, 30)
    assert "three jobs in a row" in PAGE
    assert STILLBORN == 3
    assert "again every half minute" in PAGE
    assert FULL_QUEUE_S == 30
    assert "SBATCH_PARTITION" not in KEPT
    assert not environment({"SBATCH_PARTITION": "x"})
