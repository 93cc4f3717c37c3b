"""Wukong trains on a real cluster, on two nodes with two ranks each, and is disturbed there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign import api
from codesign.study.folder import read_json
from tests.slurm.cluster import Cluster
from tests.slurm.studies import (
    SLURM,
    WITHIN_S,
    assert_each_ended_once,
    begin,
    complete,
    outcomes,
    take_all_nodes,
    until,
)
from tests.support import small_clicks
from tests.support.studies import state_of
from wukong.shape import WukongConfig

TRAIN = {
    "batch_size": 100, "passes": 10, "dense_lr": 0.003, "table_lr": 0.01, "threads": 1,
    "table_backend": "fused", "table_optimizer": "rowwise_adagrad", "table_shard_columns": 8,
    "dense_shard_ranks": 2, "checkpoint_min": 0, "device": "cpu",
}  # fmt: skip
MODEL = replace(small_clicks.MODEL, d=16, bottom_width=16, dropout=0.0)
Outcomes = dict[int, tuple[Any, ...]]
ON_TWO_NODES = {**SLURM, "nodes": 2, "tasks_per_node": 2, "gpus_per_node": 2, "signal_s": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clicks.write(tmp_path_factory.mktemp("clicks") / "prepared").folder


def write(file: Path, data: Path, launch: dict[str, Any]) -> Path:
    """Write a spec over two knobs of a small Wukong."""
    default = vars(WukongConfig())
    model = {name: value for name, value in vars(MODEL).items() if value != default[name]}
    searched = {"k": [2, 3, 4], "mlp_width": [8, 16]}
    fixed = {name: value for name, value in model.items() if name not in searched}
    sections = {
        "data": {"source": "prepared", "path": str(data)},
        "model": {"name": "wukong", **fixed},
        "train": TRAIN,
        "space": searched,
        "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
        "search": {"trials": 1, "proposer": "random"},
        "launch": launch,
        "seed": 1,
    }
    file.write_text(yaml.safe_dump(sections))
    return file


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What four ranks of one machine come to."""
    folder = tmp_path_factory.mktemp("alone")
    spec = write(folder / "spec.yaml", data, {"workers": 1, "processes": 4})
    api.optimize(spec, study=folder / "study")
    return outcomes(state_of(folder / "study"))


def test_sharded_training_on_two_nodes_comes_to_what_four_ranks_of_one_machine_do(
    idle: Cluster, data: Path, alone: Outcomes, tmp_path: Path
) -> None:
    launch = {"executor": "slurm", "workers": 1, "slurm": ON_TWO_NODES}
    study = tmp_path / "study"
    complete(idle, write(tmp_path / "spec.yaml", data, launch), study)
    found = state_of(study)
    assert outcomes(found) == alone
    assert [trial.facts["processes"] for trial in found.trials.values()] == [4]
    assert_each_ended_once(study)


def test_a_preempted_training_goes_on_at_another_number_of_ranks(
    idle: Cluster, data: Path, alone: Outcomes, tmp_path: Path
) -> None:
    four = {**ON_TWO_NODES, "partition": "spare"}
    launch = {"executor": "slurm", "workers": 1, "slurm": four}
    spec, study = tmp_path / "spec.yaml", tmp_path / "study"
    with begin(idle, write(spec, data, launch), study) as loop:
        until((study / "trials/0000/attempt-1/progress.json").exists, within_s=WITHIN_S)
        loop.kill()
    take_all_nodes(idle, 1)
    two = {**launch, "slurm": {**four, "nodes": 1}}
    complete(idle, write(spec, data, two), study)
    facts = read_json(study / "trials/0000/attempt-2/result.json")["facts"]
    assert facts["processes"] == 2
    assert 0 < facts["resumed_at_step"] < facts["steps"]
    (expected,), (found,) = alone.values(), outcomes(state_of(study)).values()
    assert found[:-1] == expected[:-1]
    assert found[-1] == pytest.approx(expected[-1], rel=1e-4)
    assert_each_ended_once(study)
