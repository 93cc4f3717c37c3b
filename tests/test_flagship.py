"""`spaces/h100_slurm.yaml`: 720 features, 128 H100s, one trial on as many as it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codesign import api
from codesign.errors import DataError
from codesign.spec.problem import Problem, load_problem
from tests.support.command import codesign

FLAGSHIP = Path("spaces/h100_slurm.yaml")
TABLE_5 = ((2, 8, 24, 2048), (4, 32, 24, 2048), (8, 32, 24, 2048), (8, 48, 48, 4096),
           (8, 96, 96, 8192))  # fmt: skip


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_problem(FLAGSHIP)


def test_it_holds_the_rows_of_table_5_within_its_budget(problem: Problem) -> None:
    assert problem.spec.launch.processes == 128
    assert len(problem.task.schema.one_hot) == 720
    for layers, width, k, mlp_width in TABLE_5:
        row = {"layers": layers, "n_F": width, "n_L": width, "k": k, "mlp_width": mlp_width}
        for name, value in row.items():
            assert value in problem.space.levels[name]
    assert problem.feasible.size.count > 1000


def test_its_scripts_ask_for_the_nodes_that_each_trial_was_planned_for(tmp_path: Path) -> None:
    loop, *scripts = api.preview_launch(
        FLAGSHIP, study=tmp_path / "study", overrides=["search.proposer=random"], trials=8
    )
    assert "--gpus-per-node" not in loop.text
    assert sorted(number for script in scripts for number in script.trials) == list(range(8))
    nodes = {int(re.findall(r"--nodes=(\d+)", script.text)[0]) for script in scripts}
    assert len(nodes) > 1
    assert nodes <= {1, 2, 4, 8, 16}
    for script in scripts:
        assert "#SBATCH --gpus-per-node=8\n" in script.text
        assert "#SBATCH --ntasks-per-node=8\n" in script.text


def test_the_commands_of_the_page_on_plans_say_what_it_takes() -> None:
    page = Path("docs/plan.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- flagship -->\n```sh\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    printed = []
    for line in block[1].splitlines():
        program, *arguments = line.split()
        assert program == "codesign"
        done = codesign(*arguments)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    for stdout, words in zip(printed, ("3,600 designs", "GPU-hours", "#SBATCH"), strict=True):
        assert words in stdout


def test_a_design_of_it_is_planned_and_the_space_without_data_is_not_trained(
    problem: Problem, tmp_path: Path
) -> None:
    baseline = problem.spec.baseline
    assert baseline is not None
    found = problem.foreseen(baseline)
    assert found["system"]["devices"] in (8, 16, 32, 64, 128)
    assert found["predictions"]["memory_per_device_gib"]["high"] <= 70
    assert found["predictions"]["examples_per_s"]["low"] >= 500_000
    with pytest.raises(DataError, match="holds no examples, so nothing can be trained"):
        api.optimize(FLAGSHIP, study=tmp_path / "study")
