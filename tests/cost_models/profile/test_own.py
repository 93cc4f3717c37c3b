"""Operations of the user's own: what a row means, and all mistakes of a file at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import ConfigError
from cost_models.profile.own import OPERATIONS, read_operations
from cost_models.profile.record import Case

HEADER = "op,B,M,N,K,dtype"


def shapes(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "shapes.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_operations(path)
    return str(caught.value).replace(str(path.parent) + "/", "").splitlines()


def test_a_linear_map_is_a_product_with_a_transposed_weight(tmp_path: Path) -> None:
    (found,) = read_operations(shapes(tmp_path, "linear,4,8,16,32,bf16"))
    assert found == Case(
        section="op", kind="gemm", precision="bf16", layout="nt", m=4 * 8, n=16, k=32
    )


def test_a_batched_product_keeps_its_batch(tmp_path: Path) -> None:
    (found,) = read_operations(shapes(tmp_path, "bmm,4,8,16,32,tf32"))
    assert found == Case(
        section="op", kind="bmm", precision="tf32", layout="nn", batch=4, m=8, n=16, k=32
    )


def test_without_a_dtype_it_is_fp32_and_other_columns_are_ignored(tmp_path: Path) -> None:
    path = shapes(tmp_path, "gemm,1,2,3,4,mine", header="op,B,M,N,K,comment")
    (found,) = read_operations(path)
    assert (found.precision, found.m, found.n, found.k) == ("fp32", 2, 3, 4)


def test_every_known_operation_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = shapes(tmp_path, *(f"{op},1,2,{1 if op == 'reduction' else 3},4," for op in OPERATIONS))
    found = [(case.kind, case.phase, case.layout) for case in read_operations(path)]
    assert found == list(OPERATIONS.values())


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = shapes(tmp_path, "gem,1,2,3,4,fp32", "gemm,1,2,3,4,fp32", "bmm,0,-2,x,1.5,fp8", "gemm,1")
    assert mistakes(path) == [
        f"shapes.csv:2: op is 'gem'; must be one of {', '.join(OPERATIONS)}",
        "shapes.csv:4: dtype is 'fp8'; must be one of fp32, tf32, bf16 here",
        "shapes.csv:4: B is '0'; must be an integer ≥ 1 and < 1.1e+12",
        "shapes.csv:4: M is '-2'; must be an integer ≥ 1 and < 1.1e+12",
        "shapes.csv:4: N is 'x'; must be an integer ≥ 1 and < 1.1e+12",
        "shapes.csv:4: K is '1.5'; must be an integer ≥ 1 and < 1.1e+12",
        "shapes.csv:5: M is ''; must be an integer ≥ 1 and < 1.1e+12",
        "shapes.csv:5: N is ''; must be an integer ≥ 1 and < 1.1e+12",
        "shapes.csv:5: K is ''; must be an integer ≥ 1 and < 1.1e+12",
    ]


def test_a_mistake_after_an_empty_line_is_told_with_the_line_of_the_file(tmp_path: Path) -> None:
    path = shapes(tmp_path, "gemm,1,2,3,4,fp32", "", "gemm,0,2,3,4,fp32")
    assert mistakes(path) == ["shapes.csv:4: B is '0'; must be an integer ≥ 1 and < 1.1e+12"]


def test_missing_columns_are_named_together(tmp_path: Path) -> None:
    assert mistakes(shapes(tmp_path, "gemm,1,2", header="op,B,M")) == [
        "shapes.csv:1: has no column N, K; must have op, B, M, N, K"
    ]


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_has_no_columns(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    path.write_bytes(content)
    assert mistakes(path)[0].startswith("shapes.csv:1: has no column op, B, M, N, K")


def test_a_file_as_a_spreadsheet_saves_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    path.write_text(f"{HEADER}\r\ngemm,1,2,3,4,fp32\r\n", encoding="utf-8-sig", newline="")
    assert [case.kind for case in read_operations(path)] == ["gemm"]


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\x00")
    assert mistakes(path)[0].startswith("shapes.csv: cannot be read: ")


def test_b_times_m_rows_are_normalised_and_a_reduction_has_no_batch(tmp_path: Path) -> None:
    (found,) = read_operations(shapes(tmp_path, "layer_norm,64,100,128,1,fp32"))
    assert (found.batch, found.m, found.n) == (1, 6400, 128)
    path = shapes(tmp_path, "reduction,2,100,128,50,fp32")
    assert mistakes(path) == [
        "shapes.csv:2: B is 2; must be 1 for a reduction",
        "shapes.csv:2: N is 128; must be 1 for a reduction",
    ]


@pytest.mark.parametrize("size", ["9" * 5000, "1099511627776"])
def test_a_size_without_bounds_is_a_mistake(tmp_path: Path, size: str) -> None:
    (found,) = mistakes(shapes(tmp_path, f"gemm,1,{size},3,4,fp32"))
    assert "must be an integer" in found


def test_a_precision_that_the_device_has_not_is_a_mistake(tmp_path: Path) -> None:
    path = shapes(tmp_path, "gemm,1,2,3,4,tf32")
    with pytest.raises(ConfigError, match="dtype is 'tf32'; must be one of fp32, bf16 here"):
        read_operations(path, ("fp32", "bf16"))
