from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.errors import DataError
from wukong.data.sources import prepare_folder


def test_a_row_whose_vector_is_not_finite_is_malformed(tmp_path: Path) -> None:
    matrix = np.ones((3, 2), dtype=np.float32)
    matrix[2, 1] = np.nan
    np.save(tmp_path / "v.npy", matrix)
    lines = [f"{i % 2},{i % 3}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["label,item", *lines]))
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: a.csv\nsplit: {by: random, shares: [1, 1, 1]}\n"
        "columns: {label: {type: label}, v: {type: vector, from: item, file: v.npy}}\n"
    )
    with pytest.raises(DataError, match=r"a\.csv:4:2: item is '2'; must be a row of v\.npy that"):
        prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")
    data = prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out", skip_bad=20)
    assert data.facts["skipped_rows"]["count"] == 20
    assert sum(data.row_counts.values()) == 40
    assert all((data.columns(split).dense == 1).all() for split in data.row_counts)


def test_a_vector_of_any_number_beyond_the_matrix_is_zeros(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((3, 2)))
    keys = ["0", "2", "3", str(2**63), "1e300", "18446744073709551616"] * 10
    (tmp_path / "a.csv").write_text(
        "\n".join(["label,item", *(f"{i // 6 % 2},{key}" for i, key in enumerate(keys))])
    )
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: a.csv\nsplit: {by: random, shares: [1, 1, 1]}\n"
        "columns: {label: {type: label}, v: {type: vector, from: item, file: v.npy}}\n"
    )
    data = prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")
    vectors = np.concatenate([data.columns(split).dense for split in data.row_counts])
    assert sorted(map(tuple, vectors.tolist())) == [(0.0, 0.0)] * 40 + [(1.0, 1.0)] * 20


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01"])
def test_a_matrix_that_is_broken_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    (tmp_path / "a.csv").write_text("label,item\n" + "0,0\n1,1\n" * 20)
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: a.csv\nsplit: {by: random}\n"
        "columns: {label: {type: label}, v: {type: vector, from: item, file: v.npy}}\n"
    )
    with pytest.raises(DataError, match=r"v\.npy: does not load(?s:.)*numpy\.save"):
        prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")
