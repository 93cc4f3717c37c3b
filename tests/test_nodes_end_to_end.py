"""Ranks of two nodes, which know how many are on their own, train as those of one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codesign.study.folder import read_json, write_json
from codesign.worker import Runner
from tests.support import small_clicks
from tests.support.loops import until
from tests.support.ranks import on_ranks
from wukong.checkpoint import folders
from wukong.shape import WukongConfig

NODES, RANKS_OF_NODE = 2, 2
TRAIN = {
    "batch_size": 100, "passes": 20, "dense_lr": 0.003, "table_lr": 0.01, "threads": 1,
    "table_backend": "fused", "table_optimizer": "rowwise_adagrad", "table_shard_columns": 8,
    "dense_shard_ranks": 2, "checkpoint_min": 0, "device": "cpu",
}  # fmt: skip
MODEL = replace(small_clicks.MODEL, d=16, bottom_width=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clicks.write(tmp_path_factory.mktemp("clicks") / "prepared").folder


def attempt(folder: Path, data: Path) -> Path:
    folder.mkdir(parents=True)
    default = vars(WukongConfig())
    model = {name: value for name, value in vars(MODEL).items() if value != default[name]}
    task = {"name": "wukong", "model": model, "train": TRAIN, "source": "prepared",
            "path": str(data)}  # fmt: skip
    write_json(folder / "trial.json", {"token": "t", "task": task, "design": {}, "seed": 3})
    return folder


def run_here(folder: Path) -> None:
    Runner().run_trial(folder)


@contextlib.contextmanager
def nodes(folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the ranks of all nodes as a cluster would, which opens no socket for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    try:
        for rank in range(NODES * RANKS_OF_NODE):
            place = {
                "RANK": rank, "LOCAL_RANK": rank % RANKS_OF_NODE,
                "WORLD_SIZE": NODES * RANKS_OF_NODE, "LOCAL_WORLD_SIZE": RANKS_OF_NODE,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo",
            }  # fmt: skip
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "codesign.worker", str(folder)],
                    env={**os.environ, **{name: str(value) for name, value in place.items()}},
                    stdout=subprocess.DEVNULL,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(folder: Path) -> dict[str, Any]:
    found = read_json(folder / "result.json")
    times = ("examples_per_s", "train_seconds", "memory_per_device_gib")
    return {name: value for name, value in found["metrics"].items() if name not in times}


def test_ranks_of_two_nodes_stop_together_and_go_on_as_if_on_one(
    data: Path, tmp_path: Path
) -> None:
    one_node = attempt(tmp_path / "one/attempt-1", data)
    on_ranks(NODES * RANKS_OF_NODE, run_here, one_node)
    first, second = (attempt(tmp_path / f"two/attempt-{number}", data) for number in (1, 2))
    with nodes(first) as processes:
        until((first / "progress.json").exists)
        processes[3].send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in processes]
    assert codes == [1, 1, 1, -signal.SIGTERM]
    assert not list(first.glob("result*.json"))
    assert len(folders.complete([first])) == 1
    on_ranks(NODES * RANKS_OF_NODE, run_here, second)
    found = read_json(second / "result.json")
    assert 0 < found["facts"]["resumed_at_step"] < found["facts"]["steps"]
    assert found["facts"]["processes"] == 4
    assert measured(second) == measured(one_node)
