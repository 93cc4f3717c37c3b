from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.errors import DataError
from wukong.data.prepare import text
from wukong.data.prepare.split_rule import Split
from wukong.data.prepare.splitting import time_cuts
from wukong.data.prepared import PreparedData
from wukong.data.sources import prepare_folder

SPLITS = ("train", "validation", "test")
COLUMNS = "columns:\n  label: {type: label}\n  row: {type: dense, transform: none}\n"


def prepared(folder: Path, rows: Sequence[tuple[object, ...]], split: str) -> PreparedData:
    lines = ["label,row,key", *(",".join(map(str, row)) for row in rows)]
    (folder / "a.csv").write_text("\n".join(lines))
    (folder / "a.yaml").write_text(f"format: csv\nfiles: a.csv\nsplit: {split}\n{COLUMNS}")
    return prepare_folder(folder / "a.yaml", folder, folder / "out")


def rows_in(data: PreparedData) -> list[list[int]]:
    return [data.columns(split).dense[:, 0].astype(int).tolist() for split in SPLITS]


@pytest.mark.parametrize("part_bytes", [50, 1 << 20])
def test_a_random_split_keeps_order_and_does_not_depend_on_the_pieces(
    tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", part_bytes)
    rows = [(i % 2, i, 0) for i in range(1000)]
    data = prepared(tmp_path, rows, "{by: random, shares: [6, 2, 2], seed: 3}")
    drawn = np.random.default_rng(3).random(1000)
    by_hand: list[list[int]] = [[], [], []]
    for i, number in enumerate(drawn):
        by_hand[0 if number < 0.6 else 1 if number < 0.8 else 2].append(i)
    assert rows_in(data) == by_hand


def test_a_split_by_time_puts_later_rows_later_and_keeps_ties_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = rng.integers(0, 30, 500)
    data = prepared(
        tmp_path,
        [(i % 2, i, time) for i, time in enumerate(times)],
        "{by: time, column: key, shares: [8, 1, 1]}",
    )
    found = [times[rows] for rows in rows_in(data)]
    assert found[0].max() < found[1].min() <= found[1].max() < found[2].min()
    assert sum(map(len, found)) == 500
    # Train holds at least its share, and without the rows of its last time less than it.
    assert len(found[0]) >= 400 > (found[0] < found[0].max()).sum()


@given(st.lists(st.integers(0, 20), min_size=3, max_size=60), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_time_is_cut_where_sorting_all_rows_would_cut_it(times: list[int], pieces: int) -> None:
    split = Split(by="time", column="t", shares=(0.7, 0.2, 0.1))
    parts = np.array_split(np.array(times, dtype=float), pieces)
    in_order = sorted(times)
    wanted = (-(-7 * len(times) // 10), -(-9 * len(times) // 10))
    assert time_cuts(split, parts) == tuple(float(in_order[rows - 1]) for rows in wanted)


def test_times_may_be_given_and_columns_may_name_the_split(tmp_path: Path) -> None:
    rows = [(i // 4 % 2, i, i % 4) for i in range(40)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    by_time = prepared(tmp_path / "one", rows, "{by: time, column: key, starts: [2, 3]}")
    by_column = prepared(
        tmp_path / "two",
        rows,
        "{by: column, column: key, train: [0, 1], validation: 2, test: 3}",
    )
    expected = [[i for i in range(40) if i % 4 in keys] for keys in ((0, 1), (2,), (3,))]
    assert rows_in(by_time) == rows_in(by_column) == expected


@pytest.mark.parametrize("of, seen", [("train", 800), ("test", 200)])
def test_validation_is_drawn_from_the_split_that_is_named(
    tmp_path: Path, of: str, seen: int
) -> None:
    for name, first, last in (("train", 0, 800), ("test", 800, 1000)):
        lines = [f"{i % 2},{i}" for i in range(first, last)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["label,row", *lines]))
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: {train: train.csv, test: test.csv}\n"
        f"split: {{by: files, validation: {{of: {of}, share: 0.5}}}}\n{COLUMNS}"
    )
    data = prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")
    train, validation, test = (set(rows) for rows in rows_in(data))
    assert train | validation | test == set(range(1000))
    assert len(train) + len(validation) + len(test) == 1000
    assert validation <= set(range(800) if of == "train" else range(800, 1000))
    # Five standard deviations of a fair coin.
    assert abs(len(validation) - seen / 2) < 5 * (seen / 4) ** 0.5


@pytest.mark.parametrize(
    "split, key, what",
    [
        ("{by: time, column: key}", "soon", "key is 'soon'; must be a finite number"),
        ("{by: column, column: key, train: 0, validation: 1, test: 2}", "9", "must be one of 0, 1"),
        ("{by: column, column: key, train: 0, validation: 1, test: 2}", "0", "no row belongs to"),
        ("{by: time, column: day}", "0", "no column day"),
    ],
)
def test_a_split_that_cannot_be_is_refused(tmp_path: Path, split: str, key: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        prepared(tmp_path, [(i % 2, i, key) for i in range(40)], split)
    assert not (tmp_path / "out").exists()
