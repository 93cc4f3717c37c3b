"""Made-up rows in the formats in which data sets are published: same files, columns and spelling.

None of the values is from the data sets themselves.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

Row = dict[str, str]
Files = dict[str, list[Row]]

FRAPPE = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather")
FRAPPE += ("country", "city")
CRITEO = ("label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27)))
TAOBAO_IDS = ("userid", "cms_segid", "cms_group_id", "final_gender_code", "age_level")
TAOBAO_IDS += ("pvalue_level", "shopping_level", "occupation", "new_user_class_level")
TAOBAO_IDS += ("adgroup_id", "cate_id", "campaign_id", "customer", "brand")
ITEMS = 60


def write_published(name: str, folder: Path, rng: np.random.Generator) -> Files:
    """Write the files of the data set `name`; return what was written, file by file."""
    return {
        "frappe": _frappe,
        "movielens-tag": _movielens_tag,
        "criteo-kaggle": _criteo_kaggle,
        "criteo-terabyte": _criteo_terabyte,
        "taobao-ad": _taobao_ad,
        "kuaivideo": _kuaivideo,
        "microvideo-1.7m": _microvideo,
    }[name](folder, rng)


def _frappe(folder: Path, rng: np.random.Generator) -> Files:
    # Ids go on from one column to the next, lines end in CR LF.
    def row() -> Row:
        ids = {name: str(10 * i + rng.integers(0, 10)) for i, name in enumerate(FRAPPE)}
        return {"label": _label(rng), **ids}

    files = {f"{name}.csv": [row() for _ in range(200)] for name in ("train", "valid", "test")}
    return _csv(folder, files, line_end="\r\n")


def _movielens_tag(folder: Path, rng: np.random.Generator) -> Files:
    def row() -> Row:
        ids = {name: str(rng.integers(0, 30)) for name in ("user_id", "item_id", "tag_id")}
        return {"label": _label(rng), **ids}

    files = {f"{name}.csv": [row() for _ in range(200)] for name in ("train", "valid", "test")}
    return _csv(folder, files)


def _criteo_rows(rng: np.random.Generator, rows: int) -> list[Row]:
    # No header; an integer or a category may be absent, an integer may be negative.
    def field(name: str) -> str:
        if name == "label":
            return _label(rng)
        if rng.random() < 0.2:
            return ""
        return str(rng.integers(-2, 900)) if name[0] == "I" else f"{rng.integers(0, 9) * 7919:08x}"

    return [{name: field(name) for name in CRITEO} for _ in range(rows)]


def _criteo_kaggle(folder: Path, rng: np.random.Generator) -> Files:
    files = {"train.txt": _criteo_rows(rng, 900)}
    (folder / "train.txt").write_text(_tsv(files["train.txt"]))
    return files


def _criteo_terabyte(folder: Path, rng: np.random.Generator) -> Files:
    files = {f"day_{day}.gz": _criteo_rows(rng, 30 if day < 23 else 120) for day in range(24)}
    for name, rows in files.items():
        (folder / name).write_bytes(gzip.compress(_tsv(rows).encode()))
    return files


def _taobao_ad(folder: Path, rng: np.random.Generator) -> Files:
    def row() -> Row:
        length = int(rng.integers(0, 51))
        histories = {
            name: "^".join(str(i) for i in rng.integers(1, 9, length))
            for name in ("btag_his", "cate_his", "brand_his")
        }
        ids = {name: str(rng.integers(1, 9)) for name in TAOBAO_IDS}
        price = f"{rng.lognormal(5, 1):.2f}"
        pid = str(rng.choice(["430548_1007", "430539_1007"]))
        return {"clk": _label(rng), **histories, **ids, "price": price, "pid": pid, "btag": "1"}

    return _csv(folder, _train_and_test(row))


def _kuaivideo(folder: Path, rng: np.random.Generator) -> Files:
    matrix = rng.standard_normal((ITEMS, 64)).astype(np.float32)
    np.save(folder / "visual64_select.npy", matrix)

    def row() -> Row:
        return {
            "timestamp": str(rng.integers(0, 10**6)),
            "user_id": str(rng.integers(0, 9)),
            "item_id": str(rng.integers(0, ITEMS)),
            "is_click": _label(rng),
            "is_like": "0",
            "is_follow": "0",
            "pos_items": _history(rng, 100),
            "neg_items": _history(rng, 100),
        }

    return _csv(folder, _train_and_test(row))


def _microvideo(folder: Path, rng: np.random.Generator) -> Files:
    matrix = rng.standard_normal((ITEMS, 64)).astype(np.float32)
    np.save(folder / "item_image_emb_dim64.npy", matrix)

    def row() -> Row:
        return {
            "is_click": _label(rng),
            "user_id": str(rng.integers(0, 9)),
            "item_id": str(rng.integers(0, ITEMS)),
            "cate_id": str(rng.integers(0, 20)),
            "clicked_items": _history(rng, 128),
            "clicked_categories": _history(rng, 128),
            "timestamp": str(rng.integers(0, 10**6)),
        }

    return _csv(folder, _train_and_test(row))


def _label(rng: np.random.Generator) -> str:
    return str(int(rng.random() < 0.3))


def _history(rng: np.random.Generator, most: int) -> str:
    return "^".join(str(item) for item in rng.integers(0, 20, rng.integers(0, most + 1)))


def _train_and_test(row: Callable[[], Row]) -> Files:
    return {"train.csv": [row() for _ in range(400)], "test.csv": [row() for _ in range(90)]}


def _csv(folder: Path, files: Files, line_end: str = "\n") -> Files:
    for name, rows in files.items():
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (folder / name).write_bytes("".join(line + line_end for line in lines).encode())
    return files


def _tsv(rows: list[Row]) -> str:
    return "".join("\t".join(row.values()) + "\n" for row in rows)
