from __future__ import annotations

import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from codesign.errors import DataError
from wukong.data.prepare import movielens
from wukong.data.prepared import PreparedData
from wukong.data.sources import prepare

SPLITS = ("train", "validation", "test")
with_recbole = pytest.mark.skipif(
    importlib.util.find_spec("recbole") is None,
    reason="the recbole distribution, which holds MovieLens-100k, is not installed",
)


def recbole_frame(name: str) -> pd.DataFrame:
    """Read one of recbole's files by pandas, all strings."""
    path = movielens.find(None)[f"ml-100k.{name}"]
    frame = pd.read_csv(path, sep="\t", dtype=str, quoting=3, keep_default_na=False)
    return frame.rename(columns=lambda column: column.split(":")[0])


def split_one_by_one(users: list[int], times: list[int]) -> list[int]:
    """The rule as one would apply it by hand, one user at a time."""
    rows_of = defaultdict(list)
    for row, user in enumerate(users):
        rows_of[user].append(row)
    part = [0] * len(users)
    for rows in rows_of.values():
        in_time = sorted(times[row] for row in rows)
        tenth = len(rows) // 10
        last_of_train = in_time[len(rows) - 2 * tenth - 1]
        last_before_test = in_time[len(rows) - tenth - 1]
        for row in rows:
            part[row] = 2 if times[row] > last_before_test else int(times[row] > last_of_train)
    return part


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=150), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_split_is_by_user_in_time_and_keeps_ties_together(ratings, random) -> None:
    users = np.array([user for user, _ in ratings], dtype=np.int64)
    times = np.array([time for _, time in ratings], dtype=np.int64)
    part = movielens.split_by_time(users, times)
    assert part.tolist() == split_one_by_one(users.tolist(), times.tolist())
    for user in set(users.tolist()):
        mine, when = part[users == user], times[users == user]
        assert (mine == 2).sum() <= len(mine) // 10
        assert (mine == 0).any()
        for earlier, later in ((0, 1), (1, 2), (0, 2)):
            if (mine == earlier).any() and (mine == later).any():
                assert when[mine == earlier].max() < when[mine == later].min()
    shuffled = list(range(len(ratings)))
    random.shuffle(shuffled)
    again = movielens.split_by_time(users[shuffled], times[shuffled])
    assert again.tolist() == part[shuffled].tolist()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare("movielens-100k", cache=tmp_path_factory.mktemp("cache"))


@with_recbole
def test_labels_and_split_sizes_are_those_counted_from_the_files(data: PreparedData) -> None:
    ratings = recbole_frame("inter")
    users, times = ratings["user_id"].astype(int), ratings["timestamp"].astype(int)
    part = np.array(split_one_by_one(users.tolist(), times.tolist()))
    label = (ratings["rating"].astype(float) >= 4).to_numpy()
    for i, split in enumerate(SPLITS):
        assert data.rows(split) == (part == i).sum()
        np.testing.assert_array_equal(data.columns(split).label, label[part == i])
    assert sum(data.row_counts.values()) == 100_000
    assert data.base_rate == pytest.approx(label[part == 0].mean())


@with_recbole
def test_every_feature_agrees_with_a_pandas_merge(data: PreparedData) -> None:
    ratings = recbole_frame("inter")
    part = np.array(
        split_one_by_one(
            ratings["user_id"].astype(int).tolist(), ratings["timestamp"].astype(int).tolist()
        )
    )
    rows = ratings.merge(recbole_frame("user"), on="user_id", validate="m:1").merge(
        recbole_frame("item"), on="item_id", validate="m:1"
    )
    starts = [0, 18, 25, 35, 45, 50, 56, 200]
    groups = ["under 18", *(f"from {start}" for start in starts[1:-1])]
    age_group = pd.cut(rows["age"].astype(int), starts, right=False, labels=groups)
    rows["age_group"] = age_group.astype(str)
    columns_of = {"user": "user_id", "item": "item_id"}
    values_of = {f.name: rows[columns_of.get(f.name, f.name)] for f in data.schema.one_hot}
    for i, feature in enumerate(data.schema.one_hot):
        values = values_of[feature.name]
        seen = sorted(set(values[part == 0]))
        assert feature.cardinality == len(seen) + 1
        expected = pd.Index(seen).get_indexer(values) + 1
        for number, split in enumerate(SPLITS):
            ids = data.columns(split).one_hot[:, i]
            np.testing.assert_array_equal(ids, expected[part == number])
    genres = np.array(sorted({g for names in rows["class"][part == 0] for g in names.split()}))
    for number, split in enumerate(SPLITS):
        bags = data.columns(split)
        named = rows["class"][part == number].str.split()
        np.testing.assert_array_equal(np.diff(bags.bag_offsets[0]), named.str.len())
        np.testing.assert_array_equal(genres[bags.bag_values[0] - 1], named.explode())


@with_recbole
def test_the_release_year_is_standardised_by_train_and_missing_is_its_mean(
    data: PreparedData,
) -> None:
    ratings = recbole_frame("inter")
    items = recbole_frame("item").set_index("item_id")["release_year"]
    # Item 1412 has its year in the title instead; item 267 has none at all.
    items["1412"] = "1995"
    year = pd.to_numeric(ratings["item_id"].map(items), errors="coerce").to_numpy()
    assert set(ratings["item_id"][np.isnan(year)]) == {"267"}
    part = np.array(
        split_one_by_one(
            ratings["user_id"].astype(int).tolist(), ratings["timestamp"].astype(int).tolist()
        )
    )
    train = year[part == 0]
    scaled = (year - np.nanmean(train)) / np.nanstd(train)
    for i, split in enumerate(SPLITS):
        np.testing.assert_allclose(
            data.columns(split).dense[:, 0], np.nan_to_num(scaled[part == i]), atol=1e-5
        )


@with_recbole
def test_the_item_mean_is_the_stored_baseline(data: PreparedData) -> None:
    baseline = data.facts["baseline"]
    assert baseline["name"] == "item mean"
    assert 0.70 < baseline["test_auc"] < 0.76
    assert 0.003 < baseline["test_auc_sd"] < 0.01


def write_grouplens(folder: Path, users: set[str]) -> None:
    """Write the ratings of some users in the layout of ml-100k.zip, all items included."""
    ratings, people, items = (recbole_frame(name) for name in ("inter", "user", "item"))
    folder.mkdir()
    ratings = ratings[ratings["user_id"].isin(users)]
    ratings.to_csv(folder / "u.data", sep="\t", header=False, index=False)
    people.to_csv(folder / "u.user", sep="|", header=False, index=False)
    lines = []
    for item in items.itertuples():
        flags = "|".join(str(int(genre in item[4].split())) for genre in movielens.GENRES)
        title = "unknown" if item[1] == "267" else f"{item[2]} ({item[3]})"
        lines.append(f"{item[1]}|{title}|01-Jan-1995||http://é/|{flags}")
    (folder / "u.item").write_text("\n".join(lines) + "\n", encoding="latin-1")


@with_recbole
def test_the_original_folder_gives_the_same_rows_as_recbole(tmp_path: Path) -> None:
    users = {"1", "13", "405", "943"}
    write_grouplens(tmp_path / "ml-100k", users)
    original = movielens.read(movielens.find(tmp_path / "ml-100k")).frames
    published = movielens.read(movielens.find(None)).frames
    for split in SPLITS:
        expected = published[split].filter(pl.col("user").is_in(sorted(users)))
        assert len(expected) > 10
        assert_frame_equal(original[split], expected)


@with_recbole
@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("u.data", "\t5\t", "\tfive\t", r"u.data:\d+:3: rating is 'five'; must be a number"),
        ("u.user", "1|24|", "1|old|", r"u.user:1:2: age is 'old'; must be a number"),
        ("u.item", "|0|0|0|1|", "|0|0|0|7|", r"u.item:\d+:\d+: \w+ is '7'; must be 0 or 1"),
        ("u.user", "13|47|", "99913|47|", "user '13' is rated but not described"),
        ("u.user", "14|45|", "13|45|", "user '13' is described twice"),
    ],
)
def test_a_broken_original_folder_is_refused_with_the_place(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    write_grouplens(tmp_path / "ml-100k", {"1", "13"})
    path = tmp_path / "ml-100k" / file
    text = path.read_text(encoding="latin-1")
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if old in line)
    lines[first] = lines[first].replace(old, new, 1)
    path.write_text("\n".join(lines), encoding="latin-1")
    with pytest.raises(DataError, match=message):
        prepare("movielens-100k", tmp_path / "ml-100k", tmp_path / "cache")


@with_recbole
def test_a_changed_recbole_file_is_named_with_both_sums(tmp_path: Path) -> None:
    for name, path in movielens.find(None).items():
        (tmp_path / name).write_bytes(path.read_bytes())
    with (tmp_path / "ml-100k.item").open("a") as file:
        file.write("1683\tOne more\t1999\tDrama\n")
    with pytest.raises(DataError, match=r"ml-100k\.item: md5 is \w{32}; .* fb748e97e64d9a35"):
        prepare("movielens-100k", tmp_path, tmp_path / "cache")


def test_a_folder_with_neither_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no ml-100k\.inter.*u\.data, u\.item, u\.user"):
        prepare("movielens-100k", tmp_path, tmp_path / "cache")


def test_without_recbole_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install --no-deps recbole==1\.2\.1"):
        movielens.find(None)
