"""How many processes and devices a trial has follows from the section `launch`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.errors import SpecError
from codesign.spec.launching import device_counts
from codesign.spec.model import StudySpec
from codesign.spec.problem import load_spec
from launch.slurm import Options
from tests.support.toy_spec import write_spec

MODEL = {"name": "tests.support.predicted_task"}
PLANNED = {"processes": 4, "system": "planned"}


def spec(folder: Path, launch: dict[str, Any], hardware: Any = "abacus") -> StudySpec:
    return load_spec(write_spec(folder, model=MODEL, launch=launch, hardware=hardware)).spec


@pytest.mark.parametrize(
    ("slurm", "processes"),
    [
        ({}, 1),
        ({"nodes": 3}, 3),
        ({"nodes": 2, "gpus_per_node": 8}, 16),
        ({"nodes": 2, "tasks_per_node": 4}, 8),
    ],
)
def test_nodes_and_tasks_set_the_processes_and_the_devices_predicted_for(
    tmp_path: Path, slurm: dict[str, int], processes: int
) -> None:
    found = spec(tmp_path, {"executor": "slurm", "slurm": slurm})
    assert found.launch.processes == processes
    assert found.hardware is not None
    assert (found.hardware.devices, found.hardware.counts) == (processes, ())
    own = spec(tmp_path, {"executor": "slurm", "slurm": slurm}, {"name": "abacus", "devices": 5})
    assert own.hardware is not None
    assert own.hardware.devices == 5


@given(nodes=st.integers(1, 70), tasks=st.integers(1, 20))
def test_planned_devices_fill_one_node_or_whole_ones_and_any_job_can_have_them(
    nodes: int, tasks: int
) -> None:
    slurm = {"nodes": nodes, "tasks_per_node": tasks}
    counts = device_counts({"executor": "slurm", "slurm": slurm})
    assert list(counts) == sorted(set(counts))
    assert (counts[0], counts[-1]) == (1, nodes * tasks)
    assert {tasks, *(2**i for i in range(12) if 2**i <= tasks)} <= set(counts)
    for count in counts:
        assert count <= tasks or count % tasks == 0
        size = Options(**slurm).size(count)
        assert size.nodes * size.tasks_per_node == count
    assert all(after <= 2 * before for before, after in itertools.pairwise(counts))


def test_the_devices_of_a_planned_study_are_part_of_its_identity(tmp_path: Path) -> None:
    local = spec(tmp_path, {"processes": 6, "system": "planned"})
    assert local.hardware is not None
    assert local.hardware.counts == (1, 2, 4, 6)
    assert (local.hardware.system, local.hardware.devices) == ("planned", 6)
    assert spec(tmp_path, PLANNED).hash != local.hash
    given, more = spec(tmp_path, {"workers": 1}), spec(tmp_path, {"processes": 4})
    assert given.hash == more.hash
    assert "counts" not in given.identity()["hardware"]


@pytest.mark.parametrize(
    ("hardware", "complaint"),
    [
        (None, "launch.system is planned; must have the section hardware beside it"),
        ({"name": "abacus", "devices": 4}, "hardware.devices is chosen for each trial"),
        ({"name": "abacus", "system": "given"}, "hardware.system is chosen for each trial"),
    ],
)
def test_what_a_planned_launch_cannot_stand_beside_is_refused_with_its_place(
    tmp_path: Path, hardware: Any, complaint: str
) -> None:
    with pytest.raises(SpecError) as raised:
        spec(tmp_path, PLANNED, hardware)
    assert f": {complaint}" in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path))
