from __future__ import annotations

import pytest

from cost_models.table5 import ROWS, our_count


@pytest.mark.parametrize(
    ("row", "error_percent"), list(zip(ROWS, [-9, -19, -26, 0, 14, 5, 16], strict=True)), ids=str
)
def test_our_count_of_the_published_rows(row: object, error_percent: int) -> None:
    """The expected errors were derived by hand from the printed shapes, with a 3×h head."""
    ours = our_count(row)["gflop_per_example"]  # type: ignore[arg-type]
    published = row.gflop_per_example  # type: ignore[attr-defined]
    assert round(100 * (ours / published - 1)) == error_percent


def test_more_compute_in_print_is_more_compute_in_our_count() -> None:
    ours = [our_count(row)["gflop_per_example"] for row in ROWS]
    assert ours == sorted(ours)
