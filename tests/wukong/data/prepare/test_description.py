from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import DataError
from wukong.data.prepare.description import Column, load_description, shipped
from wukong.data.prepare.split_rule import Split

GOOD = """format: csv
files: a.csv
split: {by: random}
columns:
  label: {type: label}
  item: {type: categorical}
"""


def load(folder: Path, content: str):
    (folder / "d.yaml").write_text(content)
    return load_description(folder / "d.yaml")


def test_a_small_description_has_these_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert (found.name, found.format, found.separator, found.quote) == ("d", "csv", ",", '"')
    assert found.files == {"all": ("a.csv",)}
    assert found.split == Split(by="random", shares=(0.8, 0.1, 0.1), seed=0)
    assert found.columns == (
        Column(name="label", type="label", source="label"),
        Column(name="item", type="categorical", source="item"),
    )


def test_all_mistakes_are_listed_at_once_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(
            tmp_path,
            "format: xls\n"
            "fiels: a.csv\n"
            "split: {by: random, shares: [8, 1]}\n"
            "columns:\n"
            "  label: {type: lable}\n"
            "  user: {type: categorical, minimum_count: 0}\n"
            "  item: {type: categorical, hash: 1e3}\n"
            "  tags: {type: multi_hot, shares: nothing}\n"
            "  price: {type: dense, minimum_count: 2}\n"
            "  user: {type: dense}\n",
        )
    file = tmp_path / "d.yaml"
    for expected in (
        f"{file}:1: format is 'xls'; must be one of csv, tsv, libsvm, parquet",
        f"{file}:2: fiels is unknown; did you mean 'files'?",
        f"{file}:3: split.shares is a list; must be a list of 3 numbers",
        f"{file}:5: columns.label.type is 'lable'; must be one of label, dense",
        f"{file}:6: columns.user.minimum_count is '0'; must be a whole number ≥ 1",
        f"{file}:7: columns.item.hash is '1e3'; must be a whole number ≥ 2",
        f"{file}:8: columns.tags shares 'nothing'; must be a categorical",
        f"{file}:9: columns.price.minimum_count is unknown",
        f"{file}:10: columns.user stands here again; must be given once",
    ):
        assert expected in caught.value.what
    assert "files is missing" in caught.value.what


@pytest.mark.parametrize(
    "old, new, what",
    [
        ("{type: label}", "{type: weight}", "holds no label"),
        ("  item: {type: categorical}\n", "", "holds no feature"),
        ("{by: random}", "{by: time}", "split has no key `column`"),
        ("{by: random}", "{shares: [1, 1, 1]}", "split has no key `by`"),
        ("{by: random}", "{by: files}", "files is 'a.csv'; must be a mapping"),
        ("format: csv", "format: csv\nseparator: ab", "separator is 'ab'; must be one character"),
        (
            "format: csv",
            "format: csv\nbaseline: nobody",
            "baseline is 'nobody'; must be a categorical",
        ),
        ("{type: categorical}", "{type: vector}", "columns.item has no key `file`"),
        ("{type: categorical}", "{hash: 3}", "columns.item has no key `type`"),
        ("{type: categorical}", "{type: categorical, hash: 3, minimum_count: 2}", "has both"),
        ("{type: categorical}", "{type: categorical, hash: 2147483648}", "and ≤ 2147483647"),
        ("{type: categorical}", "{type: multi_hot, separator: ''}", "separator is empty"),
        ("{type: label}", "{type: label, at_least: 3, positive: 1}", "must be alone"),
        ("format: csv", "format: csv\nencoding: utf-16", "encoding is 'utf-16'; must be utf-8"),
        ("format: csv", "format: csv\nencoding: nothing", "encoding is 'nothing'; must be"),
        ("format: csv", "format: csv\nseparator: é", "separator is 'é'; must be one character"),
        ("format: csv", "format: csv\nquote: é", "quote is 'é'; must be one character"),
        ("format: csv", "format: csv\nquote: ','", "quote is ','; must be one character"),
        ("format: csv", "format: csv\nnames: [a, b, a]", "names holds a twice"),
        ("files: a.csv", "files: []", "files is an empty list"),
        ("{by: random}", "{by: random, shares: [0, 0, 0]}", "shares are all 0"),
        ("{by: random}", "{by: time, column: t, starts: [2, 1]}", "starts must ascend"),
        (
            "{by: random}",
            "{by: time, column: t, starts: [1, 2], shares: [1, 1, 1]}",
            "starts stands beside shares",
        ),
        ("{by: random}", "{by: column, column: fold}", "split has no values for train"),
        (
            "{by: random}",
            "{by: column, column: fold, train: [a, b], validation: b, test: c}",
            "split has b in two splits",
        ),
        (
            "{by: random}",
            "{by: files, validation: {of: train, share: 1}}",
            "share is '1'; must be between 0 and 1",
        ),
        (
            "{type: label}",
            "{type: label}\n  a.b: {type: label, from: label}",
            "holds labels that cannot be: task 'a.b'",
        ),
        (GOOD, "", "the file is empty"),
        (GOOD, "a: [", ":1: is not YAML"),
        (GOOD, "- 1\n", "is a list; must be a mapping"),
    ],
)
def test_a_description_that_cannot_be_is_refused(
    tmp_path: Path, old: str, new: str, what: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert what in str(caught.value)


def test_an_unknown_name_lists_those_that_are_shipped() -> None:
    with pytest.raises(DataError, match=r"no such description(?s:.)*criteo-kaggle, .*frappe"):
        load_description("frape")


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_description_loads_under_its_name(name: str) -> None:
    assert load_description(name).name == name
