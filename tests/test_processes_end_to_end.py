"""One design trained by one process, by several, and by several of which one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign import api
from codesign.errors import CodesignError, ConfigError
from codesign.spec.loader import load_design
from codesign.spec.problem import task_section
from codesign.study.folder import read_json, write_json
from tests.support import small_clicks
from tests.support.processes import processes_of, when
from wukong.shape import WukongConfig

# Odd batches, and a last one of 5 rows: on three ranks, all have other shares.
TRAIN = {
    "batch_size": 102, "passes": 6, "dense_lr": 0.01, "table_lr": 0.01, "threads": 1,
    "eval_batch_size": 37, "checkpoint_min": 1e-5, "device": "cpu",
}  # fmt: skip
MODEL = replace(small_clicks.MODEL, dropout=0.0)


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    small_clicks.write(folder / "prepared")
    default = vars(WukongConfig())
    model = {name: value for name, value in vars(MODEL).items() if value != default[name]}
    file = folder / "best.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "data": {"source": "prepared", "path": str(folder / "prepared")},
                "model": {"name": "wukong"},
                "train": TRAIN,
                "design": model,
                "seed": 3,
            }
        )
    )
    return file


@pytest.fixture(scope="module")
def alone(design: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert api.train(design, folder=folder).failure is None
    return folder


def assert_same_run(folder: Path, alone: Path) -> dict[str, Any]:
    """Compare all but times and memory with the run of one process; return the facts."""
    curves = [
        [json.loads(line) for line in (place / "curve.jsonl").read_text().splitlines()]
        for place in (folder, alone)
    ]
    for line, expected in zip(*curves, strict=True):
        for name in expected.keys() - {"seconds"}:
            assert line[name] == pytest.approx(expected[name], abs=2e-4), name
    found, expected = (read_json(place / "result.json") for place in (folder, alone))
    of_machine = {"examples_per_s", "train_seconds", "memory_per_device_gib"}
    assert found["metrics"].keys() == expected["metrics"].keys()
    for name in expected["metrics"].keys() - of_machine:
        assert found["metrics"][name] == pytest.approx(expected["metrics"][name], abs=2e-4), name
    for name in ("steps", "examples_seen", "best_step"):
        assert found["facts"][name] == expected["facts"][name]
    facts: dict[str, Any] = found["facts"]
    return facts


def test_a_run_that_lost_a_process_continues_with_another_number_to_the_same_result(
    design: Path, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-m", "codesign", "train", design, "--folder", folder, "--processes", "2"],
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        when(lambda: any(folder.glob("checkpoint-*")))
        os.kill(processes_of(folder)[1], signal.SIGKILL)
        _, said = run.communicate()
    assert run.returncode == 1
    said = " ".join(said.split())
    assert "the run ended as node: rank 1 of 2 ended with signal 9" in said
    assert "hint: the same command continues from the last checkpoint" in said
    assert not processes_of(folder)
    assert {path.name for path in folder.glob("log*")} == {"log-rank1.txt", "log.txt"}
    assert api.train(design, folder=folder).failure is None
    facts = assert_same_run(folder, alone)
    assert facts["resumed_at_step"] > 0
    assert (facts["processes"], facts["device"]) == (1, "cpu")
    assert not list(folder.glob("checkpoint-*"))


def test_a_run_that_is_told_to_stop_saves_where_it_stands_and_goes_on_from_there(
    design: Path, tmp_path: Path
) -> None:
    document = yaml.safe_load(design.read_text())
    document["train"]["passes"] = 30
    longer, folder, alone = tmp_path / "longer.yaml", tmp_path / "run", tmp_path / "alone"
    longer.write_text(yaml.safe_dump(document))
    with subprocess.Popen(
        [sys.executable, "-m", "codesign", "train", longer, "--folder", folder],
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        assert run.stderr.readline().startswith("  3% of 30,750 examples")
        run.send_signal(signal.SIGTERM)
        said = " ".join(run.stderr.read().split())
    assert run.returncode == 1
    step = read_json(folder / "result.json")["facts"]["steps"]
    assert f"the run ended as preempted: told to stop at step {step}" in said
    assert "hint: the same command continues from the checkpoint in" in said
    assert [path.name for path in folder.glob("checkpoint-*")] == [f"checkpoint-{step}"]
    assert api.train(longer, folder=folder).failure is None
    assert api.train(longer, folder=alone).failure is None
    assert assert_same_run(folder, alone)["resumed_at_step"] == step


def test_settings_that_the_ranks_refuse_are_said_as_one_process_says_them(
    design: Path, tmp_path: Path
) -> None:
    document = yaml.safe_load(design.read_text())
    document["train"]["dense_shard_ranks"] = 3
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=r"^dense_shard_ranks is 3 with 2 ranks; must divide"):
        api.train(wrong, folder=tmp_path / "run", processes=2)
    assert "Traceback" not in (tmp_path / "run/log.txt").read_text()


def test_a_folder_that_cannot_be_made_is_named(design: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CodesignError, match="file: the folder for curve and result cannot be made"):
        api.train(design, folder=tmp_path / "file")


def test_torchrun_starts_the_same_worker(design: Path, alone: Path, tmp_path: Path) -> None:
    loaded = load_design(design)
    section = task_section(loaded)
    payload = {"token": "t", "task": section, "design": dict(loaded.design), "seed": loaded.seed}
    write_json(tmp_path / "trial.json", payload)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3",
         "-m", "codesign.worker", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert assert_same_run(tmp_path, alone)["processes"] == 3
    assert read_json(tmp_path / "progress.json")["done"] == 6 * 1025


def test_ctrl_c_ends_all_processes(design: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "codesign",
            "train",
            design,
            "--folder",
            tmp_path,
            "--processes",
            "2",
        ]
    ) as run:
        when(lambda: len(processes_of(tmp_path)) == 2)
        run.send_signal(signal.SIGINT)
        assert run.wait() == 130
    when(lambda: not processes_of(tmp_path))
