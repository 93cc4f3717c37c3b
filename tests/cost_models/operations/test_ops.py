"""Operations in columns, and one design's out of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cost_models.operations.ops import KINDS, Op, OpColumns, OpList, operations_of, total_flop


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


PRODUCTS = OpColumns(
    kind="gemm",
    phase="forward",
    dtype="float32",
    layout="nt",
    count=numbers(1, 0, 2),
    m=numbers(2, 3, 4),
    n=numbers(5),
    k=numbers(7, 8, 9),
    bytes=numbers(100, 200, 300),
)
SUMS = OpColumns(
    kind="reduction", phase="backward", dtype="float32", count=numbers(3), m=numbers(6),
    k=numbers(2, 3, 4), bytes=numbers(72, 96, 120),
)  # fmt: skip


def test_a_design_has_what_its_row_says_as_often_as_it_says() -> None:
    assert operations_of([PRODUCTS, SUMS, SUMS], 0) == Counter(
        {
            Op("gemm", "forward", "float32", "nt", 1, 2, 5, 7, 100): 1,
            Op("reduction", "backward", "float32", "", 1, 6, 1, 2, 72): 6,
        }
    )


def test_a_design_has_nothing_of_what_it_has_no_times() -> None:
    assert {op.kind for op in operations_of([PRODUCTS, SUMS], 1)} == {"reduction"}


def test_a_row_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexError):
        operations_of([PRODUCTS], 3)


def test_total_flop_are_those_of_the_designs_one_by_one() -> None:
    one_by_one = [
        sum(op.flop * count for op, count in operations_of([PRODUCTS, SUMS], row).items())
        for row in range(3)
    ]
    assert total_flop([PRODUCTS, SUMS]).tolist() == one_by_one
    assert one_by_one == [2 * 2 * 5 * 7, 0, 2 * (2 * 4 * 5 * 9)]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"gemm", "bmm"}))
def test_what_memory_bounds_has_the_flop_of_its_formula_alone(kind: str) -> None:
    assert Op(kind, "forward", "float32", "", 2, 3, 4, 5, 60).flop == 0
    assert Op(kind, "forward", "float32", "", 2, 3, 4, 5, 60, formula_flop=11).flop == 11


def product(layout: str, batch: float, m: float, n: float, k: float) -> Op:
    made = OpList("bfloat16")
    dims = (numbers(m), numbers(n), numbers(k))
    made.product(layout, "forward", numbers(1), dims, batch=numbers(batch))
    (op,) = operations_of(made.found, 0)
    return op


def test_a_factor_that_is_a_vector_or_alone_in_its_batch_has_its_canonical_letter() -> None:
    assert product("Tt", 3, 4, 5, 6).layout == "Tt"
    assert product("Tt", 3, 1, 5, 6).layout == "Nt"
    assert product("Tt", 3, 4, 1, 6).layout == "Tn"
    assert product("Tt", 3, 4, 5, 1).layout == "Nn"
    assert product("Tt", 1, 4, 5, 6).layout == "tt"
    assert product("Tt", 1, 1, 5, 1).layout == "nn"


def test_a_shared_factor_is_read_once() -> None:
    assert product("nn", 3, 4, 5, 6).bytes == 2 * 3 * (4 * 6 + 6 * 5 + 4 * 5)
    assert product("Nn", 3, 4, 5, 6).bytes == 2 * (4 * 6 + 3 * (6 * 5 + 4 * 5))


def test_designs_of_one_column_may_have_different_layouts() -> None:
    made = OpList("float32")
    made.product("tn", "backward", numbers(1), (numbers(1, 2), numbers(3), numbers(4)))
    layouts = [{op.layout for op in operations_of(made.found, row)} for row in range(2)]
    assert layouts == [{"nn"}, {"tn"}]
