"""What is measured, and in which order: every first part is a useful sample of the whole."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cost_models import table5
from cost_models.profile import plan
from cost_models.profile.kernels import build, case_bytes, case_flop
from cost_models.profile.operations import SHARE
from cost_models.profile.record import Case
from cost_models.profile.sampling import farthest_first, interleave, spread
from cost_models.profile.spaces import SPACES, StepDesign
from tests.cost_models.profile.runs import ROOT, one_thread


@dataclass(frozen=True)
class StandIn:
    """What a plan asks of a device."""

    is_cuda: bool
    precisions: tuple[str, ...]
    memory_bytes: int


H100 = StandIn(is_cuda=True, precisions=("bf16", "tf32", "fp32"), memory_bytes=80 << 30)
CPU = StandIn(is_cuda=False, precisions=("fp32", "bf16"), memory_bytes=16 << 30)
FIRST = 500


@pytest.fixture(scope="module")
def h100() -> list[Case]:
    return plan.plan(H100)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def first(h100: list[Case]) -> list[Case]:
    return h100[:FIRST]


def design_of(case: Case) -> StepDesign:
    return StepDesign.from_json(case.design)


def gflop(case: Case) -> float:
    return design_of(case).flop(1) / 1e9


def test_no_case_is_planned_twice(h100: list[Case]) -> None:
    assert max(Counter(h100).values()) == 1
    assert len(h100) > 5000


PLANNED = """
from cost_models.profile import plan
from tests.cost_models.profile.test_plan import CPU
plan.STEP_ROWS = 40
print(*map(repr, plan.plan(CPU)), sep="\\n")
"""


def test_a_plan_is_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STEP_ROWS", 40)
    here = [repr(case) for case in plan.plan(CPU)]  # type: ignore[arg-type]
    there = subprocess.run(
        [sys.executable, "-c", PLANNED], cwd=ROOT, env=one_thread(PYTHONHASHSEED="17"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.splitlines() == here
    assert {case.section for case in plan.plan(CPU, ("table",))} == {"table"}  # type: ignore[arg-type]


def test_the_first_rows_hold_every_section_kind_and_precision(first: list[Case]) -> None:
    assert {case.section for case in first} == set(plan.SECTIONS)
    operations = [case for case in first if case.section == "op"]
    assert {case.kind for case in operations} == set(SHARE)
    for kind in ("gemm", "bmm"):
        assert {case.precision for case in operations if case.kind == kind} == set(H100.precisions)
    assert {case.precision for case in first if case.section == "step"} == set(H100.precisions)
    assert {case.phase for case in first if case.section == "table"} == {"forward", "optimizer"}
    layouts = {case.layout for case in operations if case.kind == "gemm"}
    assert layouts >= {"nt", "nn", "tn"}
    assert any(case.repeat for case in first)
    assert any(case.mode == "compiled" for case in first)


def test_operations_of_the_first_rows_keep_the_shares_of_their_kinds(first: list[Case]) -> None:
    kinds = Counter(case.kind for case in first if case.section == "op" and not case.repeat)
    for kind, share in SHARE.items():
        wanted = kinds.total() * share / sum(SHARE.values())
        assert abs(kinds[kind] - wanted) <= 3, kind


def bins(cases: Sequence[Case]) -> list[int]:
    """How many steps cost 0.05 to 0.5, to 5, to 50, to 100 GFLOP/example, and more."""
    cost = [gflop(case) for case in cases if case.section == "step" and not case.repeat]
    counts, _ = np.histogram(cost, [0.05, 0.5, 5, 50, 100, 200])
    assert counts.sum() == len(cost)
    return list(counts)


def test_steps_of_the_first_rows_reach_over_the_costs_that_fit_in_memory(
    first: list[Case],
) -> None:
    assert min(bins(first)[:3]) >= 15
    assert bins(first)[3] >= 3
    steps = [case for case in first if case.section == "step"]
    assert min(map(gflop, steps)) < 0.1
    assert max(map(gflop, steps)) > 20
    published = [design for case in steps if (design := design_of(case)).features == 720]
    assert sum(design.config["d"] == 160 for design in published) >= 5


def test_steps_reach_100_gflop_where_adam_fits_only_on_other_devices(h100: list[Case]) -> None:
    steps = [case for case in h100 if case.section == "step" and case.mode == "eager"]
    largest = max(steps, key=gflop)
    assert gflop(largest) > 60
    assert design_of(largest).optimizer == "none"
    assert {design_of(case).optimizer for case in steps if gflop(case) < 1} == {"adam"}
    costs = {round(gflop(case), 2) for case in steps}
    published = [table5.config_fields(row) for row in table5.ROWS]
    counted = [
        round(StepDesign(features=table5.N_0, config=config).flop(1) / 1e9, 2)
        for config in published
    ]
    assert set(counted[:-1]) <= costs  # the last one's BF16 weights alone are beyond 80 GiB


def test_a_compiled_step_has_its_eager_twin(h100: list[Case]) -> None:
    compiled = [case for case in h100 if case.mode == "compiled" and not case.repeat]
    assert len(compiled) == plan.COMPILED_ROWS
    for case in compiled:
        assert dataclasses.replace(case, mode="eager") in set(h100)


def test_a_repeated_row_is_planned_after_the_row_it_repeats(h100: list[Case]) -> None:
    place = {case: i for i, case in enumerate(h100)}
    repeated = [case for case in h100 if case.repeat]
    assert len(repeated) == plan.REPEATED_ROWS
    late = [case for case in repeated if place[dataclasses.replace(case, repeat=0)] > place[case]]
    assert not late


def test_whatever_is_planned_fits_in_memory(h100: list[Case]) -> None:
    for case in h100:
        if case.section == "op":
            assert 3 * case_bytes(case) < H100.memory_bytes
        elif case.section == "table":
            rows = json.loads(case.design)["rows"]
            assert 4 * case.m * case.n * rows < 0.8 * H100.memory_bytes
        else:
            assert design_of(case).held_bytes(case.precision) < 1.1 * H100.memory_bytes


def test_no_operation_takes_long_at_the_rate_of_its_precision(h100: list[Case]) -> None:
    rate = SPACES["cuda"].flop_per_s
    operations = [case for case in h100 if case.section == "op"]
    assert max(case_flop(case) / rate[case.precision] for case in operations) < 0.25


def test_every_planned_operation_can_be_built_and_run(h100: list[Case]) -> None:
    small = {
        dataclasses.replace(
            case, batch=2 if case.kind == "bmm" else 1, m=8, k=3, repeat=0,
            n=case.n if case.kind == "elementwise" else 4,
        )
        for case in h100
        if case.section == "op"
    }  # fmt: skip
    assert len(small) > 20
    for case in small:
        build(case, torch.device("cpu"))()


@pytest.mark.parametrize("device", [CPU, H100], ids=["cpu", "h100"])
def test_ceilings_name_each_precision_once_and_another_run_repeats_them(device: StandIn) -> None:
    once, again = (plan.ceilings(device, repeat=n) for n in (0, 1))  # type: ignore[arg-type]
    assert [case.precision for case in once if case.kind == "gemm"] == list(device.precisions)
    assert not set(once) & set(again)
    assert [dataclasses.replace(case, repeat=0) for case in again] == once


def test_any_first_part_of_a_spread_is_even_over_the_range() -> None:
    values = np.random.default_rng(1).exponential(size=4000)
    values = values[values < 3]
    order = spread(values, 200)
    assert len(set(order)) == 200
    for count in (20, 60, 200):
        per_bin, _ = np.histogram(values[order[:count]], bins=5, range=(0, values.max()))
        assert per_bin.min() >= count / 5 - 2
    assert spread(np.array([]), 3) == []
    assert sorted(spread(np.array([2.0, 2.0, 2.0]), 9)) == [0, 1, 2]


def test_farthest_first_takes_the_point_with_the_largest_distance_to_those_taken() -> None:
    points_PF = np.random.default_rng(2).normal(size=(60, 3))
    order = farthest_first(points_PF, 20)
    assert len(set(order)) == 20
    for count in range(1, 20):
        gaps_PC = np.linalg.norm(points_PF[:, None] - points_PF[order[:count]], axis=2)
        nearest_P = gaps_PC.min(axis=1)
        assert nearest_P[order[count]] == pytest.approx(nearest_P.max())
    assert farthest_first(np.zeros((4, 2)), 4) == [0]
    assert farthest_first(np.zeros((0, 2)), 4) == []


def test_any_first_part_of_merged_streams_holds_each_by_its_weight() -> None:
    weights = (70.0, 20.0, 10.0)
    streams = [(w, [(i, j) for j in range(400)]) for i, w in enumerate(weights)]
    merged = list(interleave(streams))
    assert sorted(merged) == [item for _, items in streams for item in items]
    for count in range(1, 500):
        held = Counter(i for i, _ in merged[:count])
        for i, weight in enumerate(weights):
            assert abs(held[i] - count * weight / 100) < 2
    assert [j for i, j in merged if i == 1] == list(range(400))
