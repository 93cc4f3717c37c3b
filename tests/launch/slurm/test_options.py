from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign import api
from codesign.errors import ConfigError, SpecError
from launch.slurm import Options
from tests.support.toy_spec import write_spec


@given(nodes=st.integers(1, 64), tasks=st.integers(1, 16), processes=st.integers(1, 1100))
def test_processes_are_spread_evenly_over_as_few_nodes_as_hold_them_or_refused(
    nodes: int, tasks: int, processes: int
) -> None:
    options = Options(nodes=nodes, tasks_per_node=tasks)
    enough = [n for n in range(1, nodes + 1) if n * tasks >= processes]
    if not enough or processes % enough[0]:
        with pytest.raises(ConfigError, match="cannot be spread evenly"):
            options.size(processes)
        return
    size = options.size(processes)
    assert (size.nodes, size.nodes * size.tasks_per_node) == (enough[0], processes)
    assert size.gpus_per_node == 0


def test_each_process_has_a_gpu_of_its_own() -> None:
    options = Options(nodes=2, gpus_per_node=8)
    assert options.processes == 16
    small = options.size(4)
    assert (small.nodes, small.tasks_per_node, small.gpus_per_node) == (1, 4, 4)


def spec_errors(folder: Path, **launch: Any) -> list[str]:
    with pytest.raises(SpecError) as raised:
        api.validate(write_spec(folder, launch=launch))
    return str(raised.value).splitlines()


def test_all_mistakes_stand_beside_those_of_other_sections(tmp_path: Path) -> None:
    slurm = {
        "time_min": 1,
        "gpus_per_node": 4,
        "tasks_per_node": 2,
        "sbatch": {"comment": "x", "mem": "3G", "no thing": 1, "exclusive": True},
    }
    found = spec_errors(tmp_path, executor="slurm", attempts=0, slurm=slurm)
    keys = ["launch.attempts", "sbatch.comment", "sbatch.mem", "sbatch.no thing", "tasks_per_node",
            "time_min"]  # fmt: skip
    assert len(found) == len(keys), found
    assert all(key in line for key, line in zip(keys, found, strict=True)), found
    assert any("one process a GPU" in line for line in found)
    assert any("must stand as launch.slurm.memory_gib" in line for line in found)


def test_options_of_slurm_need_its_executor(tmp_path: Path) -> None:
    (found,) = spec_errors(tmp_path, executor="local", slurm={"partition": "gpu"})
    assert 'launch.slurm stands beside executor "local"' in found


def test_processes_agree_with_nodes_and_tasks(tmp_path: Path) -> None:
    slurm = {"nodes": 2, "tasks_per_node": 4}
    (found,) = spec_errors(tmp_path, executor="slurm", processes=4, slurm=slurm)
    assert "launch.processes is 4, and launch.slurm has 8 tasks" in found
    api.validate(write_spec(tmp_path, launch={"executor": "slurm", "processes": 8, "slurm": slurm}))
