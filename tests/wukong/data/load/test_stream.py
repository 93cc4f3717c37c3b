"""Reading runs of rows from mapped files: content, and how much memory it takes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy_columns import toy_columns
from wukong.data.load.stream import MappedRows
from wukong.data.prepared import SplitColumns


def saved(columns: SplitColumns, folder: Path) -> SplitColumns:
    """The same columns, mapped from files."""
    mapped = {}
    for name, array in columns.arrays().items():
        np.save(folder / f"{name}.npy", array)
        mapped[name] = np.load(folder / f"{name}.npy", mmap_mode="c")
    bags = range(len(columns.bag_values))
    return SplitColumns(
        bag_values=tuple(mapped.pop(f"bag_{i}_values") for i in bags),
        bag_offsets=tuple(mapped.pop(f"bag_{i}_offsets") for i in bags),
        **mapped,
    )


def assert_rows(found: SplitColumns, columns: SplitColumns, rows: list[int]) -> None:
    for name in ("one_hot", "dense", "labels", "weight", "group"):
        expected = getattr(columns, name)[rows]
        np.testing.assert_array_equal(getattr(found, name), expected, strict=True)
    for i, (values, offsets) in enumerate(zip(found.bag_values, found.bag_offsets, strict=True)):
        ids, ends = columns.bag_values[i], columns.bag_offsets[i]
        assert [b.tolist() for b in np.split(values, offsets[1:-1])] == [
            ids[ends[row] : ends[row + 1]].tolist() for row in rows
        ]


@given(
    runs=st.lists(
        st.tuples(st.integers(0, 29), st.integers(1, 10)).map(lambda r: (r[0], min(30, sum(r)))),
        min_size=1,
        max_size=5,
    )
)
def test_runs_are_read_one_after_another_from_files_and_from_memory(
    tmp_path_factory, runs: list[tuple[int, int]]
) -> None:
    columns = toy_columns(30, tasks=2)
    rows = [row for first, end in runs for row in range(first, end)]
    mapped = saved(columns, tmp_path_factory.mktemp("columns"))
    assert_rows(MappedRows(columns).read(runs), columns, rows)
    assert_rows(MappedRows(mapped).read(runs), columns, rows)


def test_an_array_whose_file_holds_it_column_by_column_is_read_right(tmp_path: Path) -> None:
    columns = toy_columns(30, tasks=2)
    by_column = {n: np.asfortranarray(getattr(columns, n)) for n in ("one_hot", "labels")}
    turned = SplitColumns(**{**vars(columns), **by_column})
    mapped = saved(turned, tmp_path)
    assert mapped.one_hot.flags.f_contiguous
    assert_rows(
        MappedRows(mapped).read([(3, 9), (20, 30)]), columns, [*range(3, 9), *range(20, 30)]
    )


def test_a_split_larger_than_the_memory_allowed_is_read_within_it(tmp_path: Path) -> None:
    rows = 1_500_000
    for name, width, dtype in (("one_hot", 26, "i4"), ("dense", 13, "f4"), ("labels", 1, "u1")):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", dtype, (rows, width)).flush()
    script = f"""
        import resource
        import sys
        import numpy as np
        from wukong.data.load.loader import Loader
        from wukong.data.load.order import Order
        from wukong.data.prepared import SplitColumns
        from wukong.data.load.stream import MappedRows

        def peak_mib():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        arrays = {{
            name: np.load({str(tmp_path)!r} + "/" + name + ".npy", mmap_mode="c")
            for name in ("one_hot", "dense", "labels")
        }}
        size_mib = sum(array.nbytes for array in arrays.values()) / 2**20
        rows = MappedRows(SplitColumns(**arrays, bag_values=(), bag_offsets=()))
        order = Order(batch_size=4096)
        next(iter(Loader(rows, order)))
        before = peak_mib()
        seen = sum(len(batch) for batch in Loader(rows, order, workers=1))
        print(seen, size_mib, peak_mib() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    seen, size_mib, grown_mib = (float(word) for word in done.stdout.split())
    assert seen == rows
    # Two buffers of 65,536 rows, each read and then copied into batches: 4 · 10 MiB.
    assert grown_mib < 80 < size_mib / 2
