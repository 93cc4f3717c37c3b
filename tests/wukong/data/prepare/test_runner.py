"""Whole preparations, compared with an encoding by hand in plain Python."""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import os
import signal
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from codesign.errors import DataError
from tests.support.hash_by_hand import id_by_hand
from wukong.data.prepare import tables, text
from wukong.data.prepared import UNOBSERVED, PreparedData, open_prepared
from wukong.data.sources import prepare, prepare_folder

NAMES = ("click", "like", "seen", "user", "item", "tags", "history", "price", "w", "fold")
SPLIT_OF_FOLD = {"a": "train", "b": "train", "v": "validation", "t": "test"}

DESCRIPTION = """
format: {format}
files: rows.{format}
split: {{by: column, column: fold, train: [a, b], validation: v, test: t}}
columns:
  click: {{type: label, weight: 2}}
  like: {{type: label, mask: seen}}
  user: {{type: categorical, minimum_count: 3}}
  item: {{type: categorical}}
  device: {{type: categorical, from: user, hash: 5}}
  tags: {{type: multi_hot, pooling: mean}}
  history: {{type: sequence, shares: item, max_length: 2, separator: ^}}
  price: {{type: dense}}
  log_price: {{type: dense, from: price, transform: log}}
  w: {{type: weight}}
  user_group: {{type: group, from: user}}
"""


def some_rows(rng: np.random.Generator, rows: int) -> list[dict[str, str]]:
    def items(most: int) -> list[str]:
        return [f"i{item}" for item in rng.integers(0, 12, rng.integers(0, most + 1))]

    return [
        {
            "click": str(rng.choice(["0", "1", "1.0", "true", "False"])),
            "like": str(rng.integers(0, 2)),
            "seen": str(rng.integers(0, 2)),
            "user": f"ü{int(rng.exponential(6))}",
            "item": str(rng.choice(["", *(f"i{i}" for i in range(9))])),
            "tags": "|".join(items(3)),
            "history": "^".join(items(4)),
            "price": str(rng.choice(["", "-3", f"{rng.random():.3f}", "1e2"])),
            "w": f"{rng.random():.2f}",
            "fold": str(rng.choice(list("abvt"), p=[0.4, 0.2, 0.2, 0.2])),
        }
        for _ in range(rows)
    ]


def write_table(rows: list[dict[str, str]], path: Path) -> None:
    if path.suffix == ".parquet":
        table: dict[str, list[object]] = {name: [row[name] for row in rows] for name in NAMES}
        table["price"] = [float(row["price"]) if row["price"] else None for row in rows]
        table["w"] = [float(row["w"]) for row in rows]
        table["seen"] = [row["seen"] == "1" for row in rows]
        table["tags"] = [row["tags"].split("|") if row["tags"] else [] for row in rows]
        pl.DataFrame(table).write_parquet(path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        separator = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(file, NAMES, delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)


def prepared(folder: Path, rows: list[dict[str, str]], kind: str = "csv") -> PreparedData:
    write_table(rows, folder / f"rows.{kind}")
    (folder / "my.yaml").write_text(DESCRIPTION.format(format=kind))
    return prepare_folder(folder / "my.yaml", folder, folder / "out")


def pieces(value: str, separator: str) -> list[str]:
    return value.split(separator) if value else []


class ByHand:
    """Vocabularies and statistics of train, one row at a time."""

    def __init__(self, train: list[dict[str, str]]) -> None:
        users = Counter(row["user"] for row in train)
        self.users = sorted(user for user, count in users.items() if count >= 3)
        histories = [item for row in train for item in pieces(row["history"], "^")[-2:]]
        self.items = sorted({row["item"] for row in train} | set(histories))
        self.tags = sorted({tag for row in train for tag in pieces(row["tags"], "|")})
        prices = [float(row["price"]) for row in train if row["price"]]
        self.mean, self.deviation = statistics.fmean(prices), statistics.pstdev(prices)

    @staticmethod
    def number(vocabulary: list[str], value: str) -> int:
        return vocabulary.index(value) + 1 if value in vocabulary else 0

    def one_hot(self, row: dict[str, str]) -> list[int]:
        bucket = id_by_hand(row["user"], 5)
        return [self.number(self.users, row["user"]), self.number(self.items, row["item"]), bucket]

    def bags(self, row: dict[str, str]) -> list[list[int]]:
        tags = [self.number(self.tags, tag) for tag in pieces(row["tags"], "|")]
        return [tags, [self.number(self.items, i) for i in pieces(row["history"], "^")[-2:]]]

    def dense(self, row: dict[str, str]) -> list[float]:
        if not row["price"]:
            return [0.0, 0.0]
        price = float(row["price"])
        return [(price - self.mean) / self.deviation, math.copysign(math.log1p(abs(price)), price)]

    @staticmethod
    def labels(row: dict[str, str]) -> list[int]:
        like = int(row["like"]) if row["seen"] == "1" else UNOBSERVED
        return [int(row["click"] in ("1", "1.0", "true")), like]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_every_kind_of_column_agrees_with_an_encoding_by_hand(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small pieces, so that everything that is carried from one to the next is used.
    monkeypatch.setattr(text, "PART_BYTES", 1000)
    monkeypatch.setattr(tables, "PARQUET_ROWS", 37)
    rows = some_rows(np.random.default_rng(1), 400)
    data = prepared(tmp_path, rows, kind)
    parts = {
        split: [row for row in rows if SPLIT_OF_FOLD[row["fold"]] == split]
        for split in ("train", "validation", "test")
    }
    hand = ByHand(parts["train"])
    assert [(f.name, f.cardinality, f.multi_hot, f.pooling) for f in data.schema.categorical] == [
        ("user", len(hand.users) + 1, False, "sum"),
        ("item", len(hand.items) + 1, False, "sum"),
        ("device", 5, False, "sum"),
        ("tags", len(hand.tags) + 1, True, "mean"),
        ("history", len(hand.items) + 1, True, "sum"),
    ]
    assert data.schema.dense == ("price", "log_price")
    groups: dict[int, str] = {}
    for split, part in parts.items():
        columns = data.columns(split)
        assert data.rows(split) == len(part) > 20
        assert columns.one_hot.tolist() == [hand.one_hot(row) for row in part]
        for i in range(2):
            values, offsets = columns.bag_values[i], columns.bag_offsets[i]
            bags = [values[offsets[r] : offsets[r + 1]].tolist() for r in range(len(part))]
            assert bags == [hand.bags(row)[i] for row in part]
        np.testing.assert_allclose(columns.dense, [hand.dense(row) for row in part], atol=1e-5)
        assert columns.labels.tolist() == [hand.labels(row) for row in part]
        np.testing.assert_allclose(columns.weight, [float(row["w"]) for row in part])
        for number, row in zip(columns.group.tolist(), part, strict=True):
            assert groups.setdefault(number, row["user"]) == row["user"]
    assert len(groups) == len({row["user"] for row in rows})


def test_the_manifest_holds_tasks_vocabularies_and_checksums(tmp_path: Path) -> None:
    rows = some_rows(np.random.default_rng(2), 300)
    data = prepared(tmp_path, rows)
    train = [row for row in rows if SPLIT_OF_FOLD[row["fold"]] == "train"]
    hand = ByHand(train)
    likes = [int(row["like"]) for row in train if row["seen"] == "1"]
    clicks = [hand.labels(row)[0] for row in train]
    assert [(task.name, task.weight) for task in data.tasks] == [("click", 2.0), ("like", 1.0)]
    assert [task.base_rate for task in data.tasks] == pytest.approx(
        [statistics.fmean(clicks), statistics.fmean(likes)]
    )
    assert data.vocabularies["device"] == "hashed:5"
    assert data.vocabularies["item"] == data.vocabularies["history"]
    with (data.folder / data.vocabularies["item"]).open(newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)] == hand.items
    data.check()
    assert data.source_md5 == {
        "rows.csv": hashlib.md5((tmp_path / "rows.csv").read_bytes()).hexdigest(),
        "description": hashlib.md5((tmp_path / "my.yaml").read_bytes()).hexdigest(),
    }
    names = {path.name for path in data.folder.iterdir()}
    assert names == {"manifest.json", "vocabularies", "train", "validation", "test"}


def test_changing_validation_and_test_changes_no_vocabulary_or_statistic(tmp_path: Path) -> None:
    rows = some_rows(np.random.default_rng(3), 300)
    train = [row for row in rows if SPLIT_OF_FOLD[row["fold"]] == "train"]
    others = [row | {"item": "new", "price": "9e9"} for row in rows if row not in train]
    found = []
    for name, later in (("one", [row for row in rows if row not in train]), ("two", others)):
        (tmp_path / name).mkdir()
        found.append(prepared(tmp_path / name, train + later))
    one, two = found
    assert one.schema == two.schema
    for file in one.checksums:
        if file.startswith(("train/", "vocabularies/")):
            assert one.checksums[file] == two.checksums[file]
    assert not two.columns("test").one_hot[:, 1].any()


def test_a_compressed_file_gives_the_same_columns(tmp_path: Path) -> None:
    rows = some_rows(np.random.default_rng(4), 200)
    plain = prepared(tmp_path, rows)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress((tmp_path / "rows.csv").read_bytes()))
    described = (tmp_path / "my.yaml").read_text().replace("rows.csv", "rows.csv.gz")
    (tmp_path / "gz.yaml").write_text(described)
    packed = prepare_folder(tmp_path / "gz.yaml", tmp_path, tmp_path / "packed")
    assert packed.checksums == plain.checksums


def test_a_cut_off_compressed_file_is_refused(tmp_path: Path) -> None:
    rows = some_rows(np.random.default_rng(4), 200)
    write_table(rows, tmp_path / "rows.csv")
    packed = gzip.compress((tmp_path / "rows.csv").read_bytes())
    (tmp_path / "rows.csv.gz").write_bytes(packed[: len(packed) // 2])
    described = DESCRIPTION.format(format="csv").replace("rows.csv", "rows.csv.gz")
    (tmp_path / "gz.yaml").write_text(described)
    with pytest.raises(DataError, match=r"rows\.csv\.gz: cannot be read"):
        prepare_folder(tmp_path / "gz.yaml", tmp_path, tmp_path / "out")


def test_without_vocabularies_and_statistics_the_files_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,item\n" + "0,a\n1,b\n" * 50)
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: a.csv\nsplit: {by: random, shares: [1, 1, 1]}\n"
        "columns:\n  label: {type: label}\n  item: {type: categorical, hash: 8}\n"
    )
    said: list[str] = []
    prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out", progress=said.append)
    assert said == ["a: encoding, 100 rows, done"]


def test_a_prepared_folder_trains(tmp_path: Path) -> None:
    from wukong.shape import WukongConfig
    from wukong.train import TrainConfig, train

    rows = some_rows(np.random.default_rng(5), 600)
    for row in rows:
        row["click"] = str(int(row["item"] in ("i1", "i2", "i3", "i4")))
    write_table(rows, tmp_path / "rows.csv")
    one_label = DESCRIPTION.format(format="csv").replace("  like: {type: label, mask: seen}\n", "")
    (tmp_path / "my.yaml").write_text(one_label)
    prepare_folder(tmp_path / "my.yaml", tmp_path, tmp_path / "out")
    data = prepare("prepared", tmp_path / "out")
    config = TrainConfig(batch_size=64, passes=12, dense_lr=0.01, table_lr=0.01)
    shape = WukongConfig(layers=1, n_F=2, n_L=2, k=2, d=8, mlp_depth=1, mlp_width=16)
    result = train(shape, data.schema, data, config, seed=0)
    assert result.validation is not None
    assert result.validation.auc > 0.9


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    rows = some_rows(np.random.default_rng(6), 200)
    data = prepared(tmp_path, rows)
    with pytest.raises(DataError, match="is there already"):
        prepare_folder(tmp_path / "my.yaml", tmp_path, tmp_path / "out")
    open_prepared(tmp_path / "out").check()
    assert data.folder == tmp_path / "out"


KILLED = """
import os, signal, sys
from wukong.data.prepare.encoder import Encoder
from wukong.data.sources import prepare_folder
real_encode = Encoder.encode
def encode(encoder, rows):
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise KeyboardInterrupt
Encoder.encode = encode
prepare_folder(sys.argv[1] + "/my.yaml", sys.argv[1], sys.argv[1] + "/out")
"""


@pytest.mark.parametrize(
    "how, ends, left", [("kill", -signal.SIGKILL, 1), ("interrupt", -signal.SIGINT, 0)]
)
def test_an_interrupted_preparation_leaves_nothing_that_looks_whole(
    tmp_path: Path, how: str, ends: int, left: int
) -> None:
    rows = some_rows(np.random.default_rng(7), 200)
    write_table(rows, tmp_path / "rows.csv")
    (tmp_path / "my.yaml").write_text(DESCRIPTION.format(format="csv"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), how],
        cwd=Path(text.__file__).parents[3],
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == ends, done.stderr
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".out-*"))) == left
    prepare_folder(tmp_path / "my.yaml", tmp_path, tmp_path / "out").check()


def test_a_folder_that_another_preparation_made_meanwhile_is_refused(tmp_path: Path) -> None:
    rows = some_rows(np.random.default_rng(8), 200)
    write_table(rows, tmp_path / "rows.csv")
    (tmp_path / "my.yaml").write_text(DESCRIPTION.format(format="csv"))
    others: list[PreparedData] = []

    def another(line: str) -> None:
        if not others:
            others.append(prepare_folder(tmp_path / "my.yaml", tmp_path, tmp_path / "out"))

    with pytest.raises(DataError, match="out: is there already"):
        prepare_folder(tmp_path / "my.yaml", tmp_path, tmp_path / "out", progress=another)
    others[0].check()
    assert not list(tmp_path.glob(".out-*"))


def test_a_column_that_is_constant_but_for_rounding_is_not_scaled_up(tmp_path: Path) -> None:
    lines = [f"{i % 2},0.1,a" for i in range(2000)]
    lines += [f"{i % 2},0.2,{at}" for at in "bc" for i in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(["label,x,at", *lines]))
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: a.csv\n"
        "split: {by: column, column: at, train: a, validation: b, test: c}\n"
        "columns: {label: {type: label}, x: {type: dense}}\n"
    )
    data = prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")
    np.testing.assert_allclose(data.columns("test").dense[:, 0], [0.1] * 4, rtol=1e-6)


def test_a_vector_that_is_not_finite_is_named_by_file_row_and_column(tmp_path: Path) -> None:
    matrix = np.ones((3, 2), dtype=np.float32)
    matrix[2, 1] = np.nan
    np.save(tmp_path / "v.npy", matrix)
    lines = [f"{i % 2},{i % 3}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["label,item", *lines]))
    (tmp_path / "a.yaml").write_text(
        "format: csv\nfiles: a.csv\nsplit: {by: random}\n"
        "columns: {label: {type: label}, v: {type: vector, from: item, file: v.npy}}\n"
    )
    with pytest.raises(DataError, match=r"v\.npy:row 2:column 1: holds nan; must be finite"):
        prepare_folder(tmp_path / "a.yaml", tmp_path, tmp_path / "out")
