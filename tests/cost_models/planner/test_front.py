"""Which of several plans are worth a star, against every pair compared."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.contracts import Prediction
from cost_models.planner.search import Candidate, on_front
from cost_models.planner.system import System

SYSTEM = System(
    devices=1, batch_size=1, table_sharding="column_wise", table_shard_columns=128,
    dense_shard_ranks=1, precision="fp32", gradient_precision="fp32", lookup_precision="fp32",
    activation_checkpointing=False, compile=False,
)  # fmt: skip


def candidate(hours: float, gpu_hours: float, *, over: float) -> Candidate:
    figures = {
        name: Prediction(value=value, low=value, high=value, label="")
        for name, value in (("hours", hours), ("gpu_hours", gpu_hours))
    }
    return Candidate(system=SYSTEM, figures=figures, over={"hours": over}, loss=0.0)


FIGURE = st.integers(1, 4).map(float)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FIGURE, FIGURE, st.sampled_from([0.5, 2.0])), min_size=1, max_size=6))
def test_the_front_holds_what_no_other_within_the_budgets_beats(
    points: list[tuple[float, float, float]],
) -> None:
    marks = on_front([candidate(*point[:2], over=point[2]) for point in points])
    within = [(hours, gpu_hours) for hours, gpu_hours, over in points if over <= 1]
    marked = [point[:2] for point, mark in zip(points, marks, strict=True) if mark]
    beaten = {
        one
        for one in within
        for other in within
        if other != one and other[0] <= one[0] and other[1] <= one[1]
    }
    assert sorted(marked) == sorted(set(within) - beaten)
