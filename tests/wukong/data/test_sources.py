from __future__ import annotations

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codesign.errors import DataError
from tests.support.loops import until
from wukong.data import sources
from wukong.data.unfinished import one_at_a_time

ROWS = "label,item\n" + "".join(f"{i % 2},{i % 7}\n" for i in range(200))


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'movielens-1OOk'(?s:.)*did you mean 'movielens-100k'"):
        sources.prepare("movielens-1OOk")


def test_csv_without_a_path_says_what_to_give() -> None:
    with pytest.raises(DataError, match=r"needs a path(?s:.)*train\.csv, valid\.csv and test\.csv"):
        sources.prepare("csv")


def test_a_second_call_reuses_the_folder_until_the_source_changes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    steps: list[str] = []
    first = sources.prepare("csv", tmp_path / "a.csv", tmp_path / "cache", steps.append)
    again = sources.prepare("csv", tmp_path / "a.csv", tmp_path / "cache", steps.append)
    assert (first, len(steps)) == (again, 1)
    (tmp_path / "a.csv").write_text(ROWS + "1,8\n")
    changed = sources.prepare("csv", tmp_path / "a.csv", tmp_path / "cache", steps.append)
    assert (len(steps), sum(changed.row_counts.values())) == (2, 201)
    assert changed.folder != first.folder


def test_who_comes_while_another_prepares_the_same_waits_and_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    ready = sources.prepare("csv", tmp_path / "a.csv", tmp_path / "elsewhere").folder
    folder, said = tmp_path / "cache" / ready.name, list[str]()
    with ThreadPoolExecutor(1) as second:
        with one_at_a_time(folder):
            arguments = "csv", tmp_path / "a.csv", tmp_path / "cache", said.append
            waiting = second.submit(sources.prepare, *arguments)
            lock = folder.with_name(f".{folder.name}.lock").stat().st_ino
            until(lambda: any(
                "->" in line and f":{lock} " in line
                for line in Path("/proc/locks").read_text().splitlines()
            ))  # fmt: skip
            ready.rename(folder)
        assert waiting.result(60).folder == folder
    assert said == []


def test_the_cache_key_depends_on_source_names_sums_and_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = [
        sources.cache_key("csv", {"a": "1", "b": "2"}),
        sources.cache_key("csv", {"a": "2", "b": "1"}),
        sources.cache_key("csv", {"a": "1"}),
        sources.cache_key("movielens-100k", {"a": "1", "b": "2"}),
    ]
    assert sources.cache_key("csv", {"b": "2", "a": "1"}) == keys[0]
    monkeypatch.setattr(sources, "FORMAT_VERSION", sources.FORMAT_VERSION + 1)
    keys.append(sources.cache_key("csv", {"a": "1", "b": "2"}))
    assert len(set(keys)) == len(keys)


def test_the_default_cache_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    data = sources.prepare("csv", tmp_path / "a.csv")
    assert data.folder.parent == tmp_path / "xdg" / "codesign"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert sources.default_cache() == tmp_path / "home" / ".cache" / "codesign"


def test_a_cache_that_is_no_folder_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    with pytest.raises(DataError, match="cannot be written"):
        sources.prepare("csv", tmp_path / "a.csv", tmp_path / "a.csv")


@pytest.mark.parametrize(
    "module, absent",
    [
        ("wukong.data.prepared", {"torch", "polars", "scipy"}),
        ("wukong.data.sources", {"torch", "polars", "scipy"}),
        ("wukong.data.prepare.movielens", {"torch"}),
        ("wukong.data.prepare.delimited", {"torch"}),
    ],
)
def test_reading_data_needs_no_torch_and_looking_at_it_no_polars(
    module: str, absent: set[str]
) -> None:
    code = f"import sys, {module}; print(*({absent!r} & set(sys.modules)))"
    root = Path(sources.__file__).parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == []


def test_every_reader_of_the_table_finds_and_reads() -> None:
    for module in sources.READERS.values():
        reader = importlib.import_module(module)
        assert callable(reader.find), module
        assert callable(reader.read), module


def test_a_prepared_folder_is_a_source_that_needs_no_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    data = sources.prepare("csv", tmp_path / "a.csv", tmp_path / "cache")
    (tmp_path / "a.csv").unlink()
    assert sources.prepare("prepared", data.folder) == data
    for elsewhere in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"there is no manifest\.json") as refused:
            sources.prepare("prepared", elsewhere)
        assert "delete" not in str(refused.value)
    with pytest.raises(DataError, match="the source prepared needs a path"):
        sources.prepare("prepared")
