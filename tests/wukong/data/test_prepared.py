from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codesign.errors import ConfigError, DataError
from wukong.data import columns, prepared
from wukong.data.prepared import (
    UNOBSERVED,
    LabelTask,
    PreparedData,
    SplitColumns,
    open_prepared,
    write_prepared,
)
from wukong.data.writer import PreparedWriter
from wukong.schema import CategoricalFeature, InputSchema

SCHEMA = InputSchema(
    categorical=(
        CategoricalFeature(name="item", cardinality=5),
        CategoricalFeature(name="tags", cardinality=4, multi_hot=True),
    ),
    dense=("price",),
)


def some_columns(rows: int) -> SplitColumns:
    rng = np.random.default_rng(rows)
    lengths = rng.integers(0, 3, rows)
    return SplitColumns(
        one_hot=rng.integers(0, 5, (rows, 1), dtype=np.int32),
        bag_values=(rng.integers(0, 4, lengths.sum(), dtype=np.int32),),
        bag_offsets=(np.concatenate([[0], np.cumsum(lengths)]),),
        dense=rng.standard_normal((rows, 1), dtype=np.float32),
        labels=rng.choice([0, 1, UNOBSERVED], (rows, 2)).astype(np.uint8),
        weight=rng.random(rows, dtype=np.float32),
        group=rng.integers(-9, 9, rows),
    )


COLUMNS = {"train": some_columns(30), "validation": some_columns(8), "test": some_columns(9)}


def write(folder: Path) -> PreparedData:
    return write_prepared(
        folder,
        name="toy",
        schema=SCHEMA,
        columns=COLUMNS,
        split_rule="by hand",
        source_md5={"toy.csv": "0" * 32},
        notes=("small",),
        facts={"baseline": {"name": "item mean", "test_auc": 0.5}},
        tasks={"click": 1.0, "like": 0.5},
    )


def rate_by_hand(task: int) -> float:
    train = COLUMNS["train"]
    weighed = [
        (label, weight)
        for label, weight in zip(train.labels[:, task].tolist(), train.weight, strict=True)
        if label != UNOBSERVED
    ]
    return sum(label * weight for label, weight in weighed) / sum(w for _, w in weighed)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_what_is_written_is_read_back_whole(tmp_path: Path) -> None:
    write(tmp_path / "cache" / "toy")
    data = open_prepared(tmp_path / "cache" / "toy")
    assert data == PreparedData(
        folder=tmp_path / "cache" / "toy",
        name="toy",
        schema=dataclasses.replace(SCHEMA, tasks=("click", "like")),
        row_counts={"train": 30, "validation": 8, "test": 9},
        tasks=(
            LabelTask(name="click", weight=1.0, base_rate=pytest.approx(rate_by_hand(0))),
            LabelTask(name="like", weight=0.5, base_rate=pytest.approx(rate_by_hand(1))),
        ),
        split_rule="by hand",
        source_md5={"toy.csv": "0" * 32},
        vocabularies={},
        checksums={
            path.relative_to(data.folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
            for path in data.folder.glob("*/*.npy")
        },
        notes=("small",),
        facts={"baseline": {"name": "item mean", "test_auc": 0.5}},
    )
    for split, expected in COLUMNS.items():
        found = data.columns(split).arrays()
        assert found.keys() == expected.arrays().keys()
        for name, array in expected.arrays().items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert names_in(tmp_path / "cache") == ["toy"]


def test_columns_are_mapped_and_writing_to_them_leaves_the_files_alone(tmp_path: Path) -> None:
    data = write(tmp_path / "toy")
    columns = data.columns("train")
    assert isinstance(columns.one_hot, np.memmap)
    columns.one_hot[:] = 99
    np.testing.assert_array_equal(data.columns("train").one_hot, COLUMNS["train"].one_hot)


def test_an_unknown_split_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'valid'; must be one of train, validation"):
        write(tmp_path / "toy").rows("valid")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_append = PreparedWriter.append

    def full_disk(writer: PreparedWriter, split: str, columns: SplitColumns) -> None:
        if split == "test":
            raise OSError(28, "No space left on device")
        real_append(writer, split, columns)

    monkeypatch.setattr(PreparedWriter, "append", full_disk)
    with pytest.raises(DataError, match=r"No space left(?s:.)*choose another folder"):
        write(tmp_path / "toy")
    assert names_in(tmp_path) == []


def test_columns_may_come_in_pieces_of_any_size(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole")
    with PreparedWriter(tmp_path / "pieces", {"click": 1.0, "like": 0.5}) as writer:
        for first, last in ((0, 0), (0, 7), (7, 7), (7, 30)):
            writer.append("train", rows_of(COLUMNS["train"], first, last))
        for split in ("validation", "test"):
            writer.append(split, COLUMNS[split])
        writer.finish(
            name="toy",
            schema=SCHEMA,
            split_rule="by hand",
            source_md5={},
            notes=(),
            facts={},
            vocabularies={},
        )
    assert open_prepared(tmp_path / "pieces").checksums == whole.checksums


def rows_of(columns: SplitColumns, first: int, last: int) -> SplitColumns:
    values, offsets = columns.bag_values[0], columns.bag_offsets[0]
    return SplitColumns(
        one_hot=columns.one_hot[first:last],
        bag_values=(values[offsets[first] : offsets[last]],),
        bag_offsets=(offsets[first : last + 1] - offsets[first],),
        dense=columns.dense[first:last],
        labels=columns.labels[first:last],
        weight=columns.weight[first:last],
        group=columns.group[first:last],
    )


def test_a_split_without_rows_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with PreparedWriter(tmp_path / "toy", {"click": 1.0, "like": 1.0}) as writer:
        writer.append("train", COLUMNS["train"])
        with pytest.raises(DataError, match="no row belongs to validation"):
            writer.columns()
    assert names_in(tmp_path) == []


def test_a_changed_byte_is_found_by_the_checksums(tmp_path: Path) -> None:
    data = write(tmp_path / "toy")
    data.check()
    path = tmp_path / "toy" / "train" / "dense.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"train/dense.npy has md5 \w{32}, not \w{32}"):
        data.check()
    path.unlink()
    with pytest.raises(DataError, match=r"train/dense.npy has md5 of no such file"):
        data.check()


def test_blocks_are_the_first_rows_whether_mapped_or_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "BLOCK_ROWS", 8)
    mapped = write(tmp_path / "toy").columns("train")
    for part in (mapped, COLUMNS["train"]):
        ids, labels, weights = zip(*part.blocks(21), strict=True)
        assert [len(block) for block in labels] == [8, 8, 5]
        np.testing.assert_array_equal(np.concatenate(ids), COLUMNS["train"].one_hot[:21])
        np.testing.assert_array_equal(np.concatenate(labels), COLUMNS["train"].labels[:21])
        for block, start in zip(weights, (0, 8, 16), strict=True):
            expected = COLUMNS["train"].weight
            assert (block is None) == (expected is None)
            if block is not None:
                np.testing.assert_array_equal(block, expected[start:21][:8])


KILLED_WHILE_WRITING = """
import os, signal, sys
from wukong.data.sources import prepare
from wukong.data.writer import PreparedWriter
real_append = PreparedWriter.append
def append(writer, split, columns):
    if split == "test":
        os.kill(os.getpid(), signal.SIGKILL)
    real_append(writer, split, columns)
PreparedWriter.append = append
prepare("csv", sys.argv[1], sys.argv[2])
"""


def test_a_killed_preparation_is_not_taken_for_whole(tmp_path: Path) -> None:
    from wukong.data.sources import prepare

    source = tmp_path / "all.csv"
    source.write_text("label,item\n" + "".join(f"{i % 2},{i % 7}\n" for i in range(200)))
    cache = tmp_path / "cache"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(source), str(cache)],
        cwd=Path(prepared.__file__).parents[2],
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in cache.iterdir()]  # What it wrote, and its lock.
    assert len(left) == 2
    assert all(name.startswith(".csv-") for name in left)
    steps: list[str] = []
    data = prepare("csv", source, cache, progress=steps.append)
    assert len(steps) == 1
    assert sum(len(data.columns(split).label) for split in data.row_counts) == 200
    prepare("csv", source, cache, progress=steps.append)
    assert len(steps) == 1
    assert not list(cache.glob(".csv-*"))


def test_the_first_of_two_writers_wins_and_the_second_cleans_up(tmp_path: Path) -> None:
    first = write(tmp_path / "toy")
    inode = (tmp_path / "toy").stat().st_ino
    assert write(tmp_path / "toy") == first
    assert (tmp_path / "toy").stat().st_ino == inode
    assert names_in(tmp_path) == ["toy"]


def test_a_missing_or_shortened_column_is_reported_with_its_folder(tmp_path: Path) -> None:
    data = write(tmp_path / "toy")
    np.save(tmp_path / "toy" / "test" / "labels.npy", np.zeros((8, 2), dtype=np.uint8))
    with pytest.raises(DataError, match=r"labels.npy has shape \(8, 2\), not \(9, 2\)"):
        data.columns("test")
    (tmp_path / "toy" / "train" / "dense.npy").unlink()
    with pytest.raises(DataError, match=r"train/dense.npy does not load(?s:.)*delete this folder"):
        data.columns("train")
    whole = (tmp_path / "toy" / "validation" / "one_hot.npy").read_bytes()
    (tmp_path / "toy" / "validation" / "one_hot.npy").write_bytes(whole[:-4])
    with pytest.raises(DataError, match=r"validation/one_hot.npy does not load"):
        data.columns("validation")


@pytest.mark.parametrize("change", ["no file", "no JSON", "lacks a field", "other version"])
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path: Path, change: str) -> None:
    write(tmp_path / "toy")
    manifest = tmp_path / "toy" / "manifest.json"
    fields = json.loads(manifest.read_text())
    if change == "no file":
        manifest.unlink()
    elif change == "no JSON":
        manifest.write_text("{")
    elif change == "lacks a field":
        del fields["split_rule"]
        manifest.write_text(json.dumps(fields))
    else:
        manifest.write_text(json.dumps(fields | {"format_version": 0}))
    expected = "prepared in format 0" if change == "other version" else "not a prepared data set"
    with pytest.raises(DataError, match=expected):
        open_prepared(tmp_path / "toy")
