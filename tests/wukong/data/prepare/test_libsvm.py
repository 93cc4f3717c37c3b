from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.errors import DataError
from wukong.data.prepare import text
from wukong.data.prepared import PreparedData
from wukong.data.sources import prepare_folder

DESCRIPTION = """
format: libsvm
files: a.svm
split: {by: random, shares: [1, 1, 1]}
columns:
  label: {type: label, negative: [-1, 0]}
  bag: {type: multi_hot, from: indices}
  third: {type: dense, from: 3, transform: none}
  query: {type: group, from: qid}
"""


def prepared(folder: Path, lines: list[str], skip_bad: int = 0) -> PreparedData:
    (folder / "a.svm").write_text("\n".join(lines) + "\n")
    (folder / "a.yaml").write_text(DESCRIPTION)
    return prepare_folder(folder / "a.yaml", folder, folder / "out", skip_bad=skip_bad)


def some_lines(rng: np.random.Generator, rows: int) -> list[str]:
    lines = []
    for row in range(rows):
        pairs = [
            f"{i}:{rng.choice(['1', '0', '-2.5', '1e-1'])}" for i in range(6) if rng.random() < 0.5
        ]
        lines.append(" ".join([str(rng.choice(["+1", "-1"])), f"qid:{row % 7}", *pairs]))
    return lines


def test_bags_values_and_groups_agree_with_splitting_the_lines_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", 500)
    lines = some_lines(np.random.default_rng(0), 300)
    commented = [f"{line}  # {row}" if row % 3 else line for row, line in enumerate(lines)]
    data = prepared(tmp_path, commented)
    # The split draws a row by itself, in the order of the file.
    drawn = np.searchsorted([1 / 3, 2 / 3], np.random.default_rng(0).random(300), side="right")
    values = (data.folder / data.vocabularies["bag"]).read_text().splitlines()[1:]
    names = [line.split(",")[0] for line in values]
    for code, split in enumerate(("train", "validation", "test")):
        part = [line.split() for line, d in zip(lines, drawn, strict=True) if d == code]
        pairs = [dict(pair.split(":") for pair in tokens[2:]) for tokens in part]
        columns = data.columns(split)
        assert columns.label.tolist() == [int(tokens[0] == "+1") for tokens in part]
        np.testing.assert_allclose(
            columns.dense[:, 0], [float(one.get("3", 0)) for one in pairs], rtol=1e-6
        )
        offsets = columns.bag_offsets[0]
        bags = [columns.bag_values[0][offsets[r] : offsets[r + 1]] for r in range(len(part))]
        assert [[names[i - 1] for i in bag] for bag in bags] == [
            [index for index, value in one.items() if float(value)] for one in pairs
        ]
        by_group = {(t[1], int(g)) for t, g in zip(part, columns.group, strict=True)}
        assert len(by_group) == len({number for _, number in by_group}) == 7


@pytest.mark.parametrize(
    "line, where, what",
    [
        ("1 qid:1 3:x", ":21", "'3:x' is not index:number"),
        ("1 qid:1 a:1", ":21", "'a:1' is not index:number"),
        ("1 qid:1 3", ":21", "'3' is not index:number"),
        ("", ":21", "a blank line"),
        ("# nothing", ":21", "a blank line"),
        ("2 qid:1 3:1", ":21", "label is '2'; must be"),
        ("1 qid:1 3:1e999", ":21", "3 is '1e999'; must be a finite number"),
    ],
)
def test_a_malformed_line_is_named_or_left_out(
    tmp_path: Path, line: str, where: str, what: str
) -> None:
    good = some_lines(np.random.default_rng(1), 60)
    lines = [*good[:20], line, *good[20:]]
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, lines)
    assert caught.value.where.startswith(f"{tmp_path / 'a.svm'}{where}")
    assert what in caught.value.what
    data = prepared(tmp_path, lines, skip_bad=1)
    assert sum(data.row_counts.values()) == 60
    assert what in data.facts["skipped_rows"]["first"][0]
