"""A run that cannot fit is refused with its numbers; one that runs is measured beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codesign.contracts import HardwareSpec, Outcome, Progress
from codesign.designs import as_columns
from tests.support.ranks import on_ranks
from tests.support.toy_columns import toy_columns, toy_schema
from wukong.data.prepared import PreparedData, write_prepared
from wukong.data_task import cluster_of
from wukong.device.memory import (
    DoesNotFitError,
    ExpectedMemory,
    Limit,
    free_memory,
    host_limits,
    refuse_what_does_not_fit,
)
from wukong.parallel.ranks import Ranks
from wukong.task import WukongTask, predictor

SPLITS = ("train", "validation", "test")
DESIGN = {"layers": 1, "n_F": 2, "n_L": 2, "k": 2, "mlp_depth": 1, "mlp_width": 8, "d": 64}
TRAIN = {"passes": 2, "batch_size": 128, "threads": 1, "eval_batch_size": 128}


def data_with_a_table_of(rows: int, folder: Path) -> PreparedData:
    """300 examples a split, whose ids are small."""
    return write_prepared(
        folder / "prepared",
        name="toy",
        schema=toy_schema(rows),
        columns={split: toy_columns(300, seed=seed) for seed, split in enumerate(SPLITS)},
        split_rule="as made",
        source_md5={"toy.csv": "0" * 32},
        notes=(),
        facts={},
        tasks={"label": 1.0},
    )


def trained(data: PreparedData, folder: Path, **train: Any) -> Outcome:
    folder.mkdir(exist_ok=True)
    task = WukongTask(model={}, train={**TRAIN, **train}, data=data)

    def ignored(progress: Progress) -> None:
        del progress

    return task.run(DESIGN, seed=0, folder=folder, earlier=(), report=ignored)


def test_a_run_beyond_memory_is_refused_with_its_parts_before_tables_are_made(
    tmp_path: Path,
) -> None:
    outcome = trained(data_with_a_table_of(10**11, tmp_path), tmp_path)
    assert outcome.failure == "out_of_memory"
    assert "GiB by part: table states 47,684, activations and gradients 23,842, " in outcome.reason
    assert "MemAvailable" in outcome.reason
    assert "memory_check: false" in outcome.reason
    assert not outcome.metrics


def test_without_the_check_the_same_run_fails_where_memory_ends(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        trained(data_with_a_table_of(10**11, tmp_path), tmp_path, memory_check=False)


def test_ranks_of_one_host_share_its_memory() -> None:
    expected = ExpectedMemory(
        parts={"tables": 0.7 * free_memory(Ranks()).free_bytes, "batch": 1.0}, label="assumed"
    )
    refuse_what_does_not_fit(expected, Ranks())
    refusals = on_ranks(2, refusal_of, expected)
    assert all("shared by 2 ranks" in refusal for refusal in refusals), refusals
    assert all("by part: tables" in refusal for refusal in refusals), refusals


def refusal_of(expected: ExpectedMemory) -> str:
    """What this rank is told; nothing where it is not refused."""
    try:
        refuse_what_does_not_fit(expected, Ranks.present())
    except DoesNotFitError as error:
        return error.what
    return ""


def test_a_rank_that_lacks_memory_keeps_all_from_starting() -> None:
    assert all(on_ranks(2, refusal_where_only_the_last_lacks))


def refusal_where_only_the_last_lacks() -> str:
    size = 1e18 if Ranks.present().rank else 1.0
    return refusal_of(ExpectedMemory(parts={"tables": size}, label="assumed"))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    return tmp_path / "proc"


def test_limits_of_control_groups_count_caches_as_free_up_to_the_root(
    proc: Path, tmp_path: Path
) -> None:
    root = tmp_path / "cgroup"
    (proc / "self/cgroup").write_text("0::/jobs/one\n")
    for folder, most in (("jobs/one", "max\n"), ("jobs", "4000\n")):
        group = root / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(most)
        (group / "memory.current").write_text("1500\n")
        (group / "memory.stat").write_text("anon 800\ninactive_file 600\n")
    assert list(host_limits(proc, root)) == [
        Limit(free_bytes=5000 * 1024, source="MemAvailable"),
        Limit(free_bytes=4000 - 900, source=str(root / "jobs/memory.max")),
    ]


def test_limits_of_the_older_control_groups_are_found_where_a_container_mounts_them(
    proc: Path, tmp_path: Path
) -> None:
    group = tmp_path / "cgroup/memory"
    group.mkdir(parents=True)
    (proc / "self/cgroup").write_text("9:cpu,cpuacct:/docker/a1\n4:memory:/docker/a1\n")
    (group / "memory.limit_in_bytes").write_text("3000\n")
    (group / "memory.usage_in_bytes").write_text("3500\n")
    (group / "memory.stat").write_text("total_inactive_file 100\n")
    assert list(host_limits(proc, tmp_path / "cgroup"))[1:] == [
        Limit(free_bytes=0, source=str(group / "memory.limit_in_bytes"))
    ]


@pytest.mark.parametrize("backend", ["plain", "fused"])
def test_the_measured_peak_of_a_large_run_is_near_the_predicted(
    backend: str, tmp_path: Path
) -> None:
    """Within 15%, of 270 MiB and more: libraries, threads and evaluations take some.

    Of the calmest of four runs: a hole of the heap, in which a large block just does not fit, only
    adds. No run holds less than predicted, though what the one before it left is freed meanwhile.
    """
    rows = 400_000 if backend == "plain" else 1_500_000
    data = data_with_a_table_of(rows, tmp_path)
    settings = {"table_backend": backend, "table_optimizer": "rowwise_adagrad"}
    trained(data_with_a_table_of(1000, tmp_path / "small"), tmp_path / "warm", **settings)
    outcomes = [trained(data, tmp_path / f"large{run}", **settings) for run in range(4)]
    (expected,) = {outcome.facts["memory"]["predicted_gib"] for outcome in outcomes}
    assert expected > 0.25
    measured = min(outcome.facts["memory"]["measured_gib"] for outcome in outcomes)
    assert measured == pytest.approx(expected, rel=0.15)
    task = WukongTask(model={}, train={**TRAIN, **settings}, data=data)
    columns = as_columns([DESIGN])
    device = predictor(HardwareSpec(name="cpu"))
    step = task.predict(device, columns, columns, confidence=0.9)["memory_per_device_gib"].value[0]
    measured = min(outcome.metrics["memory_per_device_gib"] for outcome in outcomes)
    assert measured == pytest.approx(step, rel=0.15)


def test_the_largest_of_all_ranks_is_measured(tmp_path: Path) -> None:
    """A single table lies on one of two ranks; both say what that one held."""
    found = on_ranks(2, memory_of_a_run, tmp_path)
    assert found[0] == found[1]
    assert found[0]["measured_gib"] == pytest.approx(found[0]["predicted_gib"], rel=0.15)


def memory_of_a_run(folder: Path) -> dict[str, Any]:
    settings = {"table_backend": "fused", "table_optimizer": "sgd"}
    own = folder / str(Ranks.present().rank)
    trained(data_with_a_table_of(1000, own / "small"), own / "warm", **settings)
    outcome = trained(data_with_a_table_of(1_500_000, own), own / "large", **settings)
    assert outcome.failure is None, outcome.reason
    found: dict[str, Any] = outcome.facts["memory"]
    return found


def test_figures_of_a_known_gpu_are_handed_to_the_planner_of_tables() -> None:
    known = cluster_of("NVIDIA H100 80GB HBM3")
    assert known is not None
    assert known.intra_node_bytes_per_s == 450e9
    assert known.inter_node_bytes_per_s == 50e9
    assert known.memory_bytes_per_s == 3.35e12
    assert known.ranks_per_node == 8
    assert cluster_of("NVIDIA GeForce GTX 1080") is None
