"""MovieLens-100k (Harper and Konstan 2015): is a rating at least 4?

Read from the example files of the `recbole` distribution (none of its code is imported) or from
the folder that GroupLens publishes. Imports polars; import this module late.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from codesign.errors import DataError
from wukong.data.prepare.in_memory import RawData
from wukong.data.prepare.text import TextTable
from wukong.data.prepared import SPLITS, file_md5

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

RECBOLE_MD5 = {
    "ml-100k.inter": "a8a8c3f165aedc53f63b5dc0a0463b14",
    "ml-100k.item": "fb748e97e64d9a35421d06d7083d0959",
    "ml-100k.user": "ac50ecbab626dbefa83288a3593f92ab",
}
GROUPLENS_FILES = ("u.data", "u.item", "u.user")
# In the order of the flags of u.item.
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# The groups in which MovieLens-1M publishes ages: 26 of the 61 single years that occur have fewer
# than a dozen people.
AGE_GROUP_STARTS = (18, 25, 35, 45, 50, 56)
SPLIT_RULE = (
    "per user by time: the last 10% of the ratings (rounded down) are test, the 10% before them "
    "validation; ratings of the same second as the last one before a cut stay before it"
)


def find(path: Path | None) -> dict[str, Path]:
    """Find the files: name → path. Without a folder, those of the `recbole` distribution.

    Raises:
        DataError: where they are not there.
    """
    if path is None:
        folder, names = _recbole_folder(), tuple(RECBOLE_MD5)
    else:
        folder = path
        names = GROUPLENS_FILES if (path / "u.data").exists() else tuple(RECBOLE_MD5)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"no {', '.join(missing)}; a MovieLens-100k folder holds {', '.join(GROUPLENS_FILES)} "
            f"or {', '.join(RECBOLE_MD5)}",
            where=str(folder),
            hint="reinstall recbole==1.2.1, or give the folder unpacked from ml-100k.zip",
        )
    return {name: folder / name for name in names}


def _recbole_folder() -> Path:
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "MovieLens-100k comes with the recbole distribution, which is not installed",
            hint="pip install --no-deps recbole==1.2.1, or give the path of an ml-100k folder",
        )
    return Path(spec.submodule_search_locations[0]) / "dataset_example" / "ml-100k"


def read(files: Mapping[str, Path]) -> RawData:
    """Read what `find` has found.

    Raises:
        DataError: where a file differs from the published one or cannot be understood.
    """
    if "u.data" in files:
        ratings, items, users = _read_grouplens(files)
    else:
        _check_md5(files)
        ratings, items, users = _read_recbole(files)
    folder = str(next(iter(files.values())).parent)
    examples = _join(_join(ratings, users, "user", folder), items, "item", folder)
    part = split_by_time(examples["user"].to_numpy(), examples["timestamp"].to_numpy())
    features = examples.select(
        (pl.col("rating") >= 4).cast(pl.UInt8).alias("label"),
        *("user", "item", "age_group", "gender", "occupation", "genres", "release_year"),
    )
    return RawData(
        frames={split: features.filter(part == i) for i, split in enumerate(SPLITS)},
        split_rule=SPLIT_RULE,
        notes=(
            "label: rating of 4 or 5",
            "train precedes test for each user, but not from one user to the next",
        ),
        baseline_feature="item",
    )


def split_by_time(
    user_N: NDArray[np.generic], timestamp_N: NDArray[np.generic]
) -> NDArray[np.int8]:
    """Assign N ratings to train (0), validation (1) and test (2), user by user.

    With n ratings of a user in order of time, the cuts lie m and 2m from the end, m = ⌊n / 10⌋. A
    rating is after a cut if it is strictly later than the last one before that cut: so ties stay on
    the earlier side, parts after a cut are at most m, and train keeps every user.

    Returns:
        int8 (N,), 0 … 2.
    """
    part_N = np.zeros(len(user_N), dtype=np.int8)
    if not len(user_N):
        return part_N
    order_N = np.lexsort((timestamp_N, user_N))
    _, first_U, count_U = np.unique(user_N[order_N], return_index=True, return_counts=True)
    for tenths in (2, 1):
        last_before_U = first_U + count_U - tenths * (count_U // 10) - 1
        cut_time_U = timestamp_N[order_N][last_before_U]
        part_N[order_N] += timestamp_N[order_N] > np.repeat(cut_time_U, count_U)
    return part_N


def _check_md5(files: Mapping[str, Path]) -> None:
    for name, path in files.items():
        found = file_md5(path)
        if found != RECBOLE_MD5[name]:
            raise DataError(
                f"md5 is {found}; the file of recbole 1.2.1 has {RECBOLE_MD5[name]}",
                where=str(path),
                hint="pip install --force-reinstall --no-deps recbole==1.2.1",
            )


def _read_recbole(files: Mapping[str, Path]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    def table(name: str) -> tuple[TextTable, pl.DataFrame]:
        text = TextTable(path=files[name], separator="\t", quote=None)
        return text, text.read().rename(lambda header: header.split(":")[0])

    items = table("ml-100k.item")[1].select(
        pl.col("item_id").alias("item"),
        # As GroupLens writes it; one title had its "(1995)" left in and "V" for a year.
        (pl.col("movie_title") + " (" + pl.col("release_year") + ")").alias("title"),
        pl.col("class").str.split(" ").alias("genres"),
    )
    ratings = _ratings(*table("ml-100k.inter"))
    return ratings, _with_year(items), _users(*table("ml-100k.user"))


def _read_grouplens(files: Mapping[str, Path]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    data = TextTable(
        path=files["u.data"],
        separator="\t",
        quote=None,
        names=("user_id", "item_id", "rating", "timestamp"),
    )
    item = TextTable(
        path=files["u.item"],
        separator="|",
        quote=None,
        names=("item", "title", "release_date", "video_release_date", "url", *GENRES),
        encoding="latin-1",
    )
    user = TextTable(
        path=files["u.user"],
        separator="|",
        quote=None,
        names=("user_id", "age", "gender", "occupation", "zip_code"),
    )
    frame = item.read()
    flags = [item.numbers(frame, genre, (0, 1)).cast(pl.Boolean) for genre in GENRES]
    items = frame.with_columns(flags).select(
        "item",
        "title",
        pl.concat_list(pl.when(pl.col(genre)).then(pl.lit(genre)) for genre in GENRES)
        .list.drop_nulls()
        .alias("genres"),
    )
    return _ratings(data, data.read()), _with_year(items), _users(user, user.read())


def _ratings(table: TextTable, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        pl.col("user_id").alias("user"),
        pl.col("item_id").alias("item"),
        table.numbers(frame, "rating"),
        table.numbers(frame, "timestamp"),
    )


def _users(table: TextTable, frame: pl.DataFrame) -> pl.DataFrame:
    labels = np.array([f"under {AGE_GROUP_STARTS[0]}", *(f"from {a}" for a in AGE_GROUP_STARTS)])
    groups = labels[np.searchsorted(AGE_GROUP_STARTS, table.numbers(frame, "age"), side="right")]
    return frame.select(
        pl.col("user_id").alias("user"),
        pl.Series("age_group", groups),
        "gender",
        "occupation",
    )


def _with_year(items: pl.DataFrame) -> pl.DataFrame:
    """Replace the title by the last year in brackets in it, null where there is none."""
    year = pl.col("title").str.extract_all(r"\(\d{4}\)").list.last().str.strip_chars("()")
    return items.select("item", "genres", year.cast(pl.Float64).alias("release_year"))


def _join(ratings: pl.DataFrame, table: pl.DataFrame, key: str, folder: str) -> pl.DataFrame:
    for what, ids in (
        ("described twice", table[key].filter(table[key].is_duplicated())),
        ("rated but not described", ratings[key].filter(~ratings[key].is_in(table[key].implode()))),
    ):
        if len(ids):
            raise DataError(
                f"{key} {ids[0]!r} is {what}", where=folder, hint="take the files of one release"
            )
    return ratings.join(table, on=key, how="left", maintain_order="left")
