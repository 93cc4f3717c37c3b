"""How many rows a second one core prepares, loads from prepared columns, and loads from Parquet.

Criteo-shaped rows from a fixed seed: a label, 13 integers, 26 categories of eight hexadecimal
digits. Beside each of ours stand pandas and polars doing the same work in the plainest way that is
vectorised. Where batches are made, each becomes a KeyedJaggedTensor, and they are shuffled: ours
within buffers of 65,536 rows and more, pandas and polars over all rows, which they hold in memory.

A rate is rows over processor time of the whole process, of which one thread is busy: rows/s/core;
the median of the repeats. Files lie in the page cache.

    python benchmarks/bench_data.py [--out benchmarks/results/data.json]

B examples, F features.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

# Before polars and torch are imported.
os.environ |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np
import pandas as pd
import polars as pl
import torch

from wukong.data.batch import Batch
from wukong.data.load.loader import HeldRows, Loader
from wukong.data.load.order import Order
from wukong.data.load.shards import ShardColumns, ShardRows
from wukong.data.load.stream import MappedRows
from wukong.data.prepared import SplitColumns
from wukong.data.sources import prepare_folder
from wukong.embeddings.torchrec_tables import keyed_jagged
from wukong.shape import WukongConfig, table_specs

BATCH, BUCKETS, SEED = 4096, 1_000_000, 17
DENSE = [f"I{i}" for i in range(1, 14)]
IDS = [f"C{i}" for i in range(1, 27)]
SHARD_COLUMNS = ShardColumns(
    labels=("label",), one_hot=dict.fromkeys(IDS, BUCKETS), dense=tuple(DENSE)
)


def raw_rows(rows: int) -> pl.DataFrame:
    """Draw rows as published: integers and categories may be missing; values are long-tailed."""
    rng = np.random.default_rng(SEED)
    columns: dict[str, Any] = {"label": (rng.random(rows) < 0.25).astype(np.int8)}
    for name in DENSE:
        missing = pl.Series(rng.random(rows) < 0.1)
        columns[name] = pl.Series(rng.zipf(1.5, rows).clip(max=65_535)).set(missing, None)
    for i, name in enumerate(IDS):
        values = rng.zipf(1.2, rows) % 10 ** (1 + i % 6)
        texts = [f"{(v * 2_654_435_761 + i) % 2**32:08x}" for v in range(10 ** (1 + i % 6))]
        missing = pl.Series(rng.random(rows) < 0.05)
        columns[name] = pl.Series(texts).gather(values).set(missing, None)
    return pl.DataFrame(columns)


def write_columns(folder: Path, rows: int) -> SplitColumns:
    """Write columns of random ids as a prepared split has them, and map them."""
    rng, piece = np.random.default_rng(SEED), 1 << 18
    draws: dict[str, tuple[int, type, Callable[[tuple[int, int]], np.ndarray]]] = {
        "one_hot": (len(IDS), np.int32, lambda shape: rng.integers(0, BUCKETS, shape)),
        "dense": (len(DENSE), np.float32, lambda shape: rng.random(shape, dtype=np.float32)),
        "labels": (1, np.uint8, lambda shape: rng.integers(0, 2, shape)),
    }
    mapped = {}
    for name, (width, dtype, draw) in draws.items():
        file = folder / f"{name}.npy"
        array = np.lib.format.open_memmap(file, "w+", dtype, (rows, width))
        for start in range(0, rows, piece):
            array[start : start + piece] = draw((min(piece, rows - start), width))
        mapped[name] = np.load(file, mmap_mode="c")
    return SplitColumns(**mapped, bag_values=(), bag_offsets=())


def count_jagged(batches: Iterable[Batch]) -> int:
    """Make a KeyedJaggedTensor of each batch; return how many rows there were."""
    specs = table_specs(WukongConfig(), SHARD_COLUMNS.schema())
    rows = 0
    for batch in batches:
        assert keyed_jagged(specs, batch).values().numel() == len(batch) * len(IDS)
        rows += len(batch)
    return rows


def batch_from(part: pd.DataFrame | pl.DataFrame) -> Batch:
    ids_BF, dense_BD = part[IDS].to_numpy(), part[DENSE].to_numpy()
    return Batch(
        one_hot_BF=torch.from_numpy(np.require(ids_BF.T, requirements="CW")).t(),
        bag_values=torch.empty(0, dtype=torch.int32),
        bag_lengths_FB=torch.empty(0, len(part), dtype=torch.int32),
        dense_BD=torch.from_numpy(np.require(dense_BD, requirements="CW")),
        label_BT=torch.from_numpy(part[["label"]].to_numpy().astype(np.float32)),
    )


def pandas_batches(frame: pd.DataFrame) -> Iterator[Batch]:
    order = np.random.default_rng(SEED).permutation(len(frame))
    for start in range(0, len(frame), BATCH):
        yield batch_from(frame.iloc[order[start : start + BATCH]])


def polars_batches(frame: pl.DataFrame) -> Iterator[Batch]:
    order = np.random.default_rng(SEED).permutation(len(frame))
    for start in range(0, len(frame), BATCH):
        yield batch_from(frame[order[start : start + BATCH]])


def hashed_by_pandas(csv: Path) -> pd.DataFrame:
    """From CSV: without pyarrow, which the project does not need, pandas reads no Parquet."""
    frame = pd.read_csv(csv)
    frame[DENSE] = frame[DENSE].fillna(0).astype(np.float32)
    for name in IDS:
        hashes = pd.util.hash_array(frame[name].fillna("").to_numpy(dtype=object))
        frame[name] = (hashes % BUCKETS).astype(np.int32)
    return frame


def hashed_by_polars(parquet: Path) -> pl.DataFrame:
    hashed = (pl.col(name).hash() % BUCKETS for name in IDS)
    return pl.read_parquet(parquet).with_columns(
        *(column.cast(pl.Int32) for column in hashed),
        *(pl.col(name).fill_null(0).cast(pl.Float32) for name in DENSE),
    )


def prepared_by_pandas(tsv: Path) -> None:
    """Vocabularies of values that occur ten times, logarithms, standardised: as described."""
    frame = pd.read_csv(tsv, sep="\t", header=None, names=["label", *DENSE, *IDS])
    logs = np.sign(frame[DENSE]) * np.log1p(frame[DENSE].abs())
    ((logs - logs.mean()) / logs.std()).fillna(0).to_numpy(dtype=np.float32)
    for name in IDS:
        counts = frame[name].value_counts()
        frame[name] = counts.index[counts >= 10].get_indexer(frame[name]) + 1
    frame[IDS].to_numpy(dtype=np.int32)


def prepared_by_polars(tsv: Path) -> None:
    """As `prepared_by_pandas`."""
    names = ["label", *DENSE, *IDS]
    frame = pl.read_csv(tsv, separator="\t", has_header=False, new_columns=names)
    log = [pl.col(name).sign() * pl.col(name).abs().log1p() for name in DENSE]
    dense = frame.select((x - x.mean()) / x.std() for x in log)
    dense.fill_null(0).cast(pl.Float32).to_numpy()
    ids = []
    for name in IDS:
        common = frame[name].drop_nulls().value_counts().filter(pl.col("count") >= 10)[name]
        ids.append(frame[name].cast(pl.Enum(common), strict=False).to_physical() + 1)
    pl.DataFrame(ids).fill_null(0).to_numpy().astype(np.int32)


def rate(work: Callable[[], object], rows: int, repeats: int) -> int:
    """Return the median rows per second of processor time, rounded to three digits."""
    seconds = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return int(float(f"{rows / statistics.median(seconds):.2e}"))


def from_columns(folder: Path, rows: int, repeats: int) -> dict[str, int]:
    """Batches of prepared columns: streamed, held, and from data frames in memory."""
    columns = write_columns(folder, rows)
    streamed, order = MappedRows(columns), Order(batch_size=BATCH)
    assert order.buffer_rows(streamed.block_rows) >= 65_536
    in_order = Order(batch_size=BATCH, shuffle=False)
    found = {
        "streamed, shuffled": rate(lambda: count_jagged(Loader(streamed, order)), rows, repeats),
        "streamed, shuffled, one worker": rate(
            lambda: count_jagged(Loader(streamed, order, workers=1)), rows, repeats
        ),
        "streamed, in order": rate(lambda: count_jagged(Loader(streamed, in_order)), rows, repeats),
    }
    held = HeldRows(columns)
    found["held, shuffled"] = rate(lambda: count_jagged(Loader(held, order)), rows, repeats)
    frame = pl.DataFrame(
        {
            "label": np.array(columns.label),
            **{name: columns.dense[:, i] for i, name in enumerate(DENSE)},
            **{name: columns.one_hot[:, i] for i, name in enumerate(IDS)},
        }
    )
    found["polars in memory"] = rate(lambda: count_jagged(polars_batches(frame)), rows, repeats)
    pandas = pd.DataFrame(frame.to_dict(as_series=False))
    found["pandas in memory"] = rate(lambda: count_jagged(pandas_batches(pandas)), rows, repeats)
    return found


def from_parquet(folder: Path, raw: pl.DataFrame, repeats: int) -> dict[str, int]:
    """Batches with ids hashed from texts as they are read."""
    paths = [folder / f"part-{i}.parquet" for i in range(4)]
    share = -(-len(raw) // len(paths))
    for i, path in enumerate(paths):
        raw[i * share : (i + 1) * share].write_parquet(path, row_group_size=131_072)
    csv = folder / "rows.csv"
    raw.write_csv(csv)
    shards, order = ShardRows(paths, SHARD_COLUMNS), Order(batch_size=BATCH)
    rows = len(raw)
    return {
        "ours": rate(lambda: count_jagged(Loader(shards, order)), rows, repeats),
        "polars, its own hash": rate(
            lambda: count_jagged(polars_batches(hashed_by_polars(folder / "part-*.parquet"))),
            rows,
            repeats,
        ),
        "pandas, from CSV": rate(
            lambda: count_jagged(pandas_batches(hashed_by_pandas(csv))), rows, repeats
        ),
    }


def preparation(folder: Path, raw: pl.DataFrame, repeats: int) -> dict[str, int]:
    """From the published text to columns of numbers; ours also splits, checks and writes them."""
    folder.mkdir()
    tsv = folder / "train.txt"
    raw.write_csv(tsv, separator="\t", include_header=False)
    made = (folder / f"prepared-{i}" for i in range(repeats))
    rows = len(raw)
    return {
        "ours": rate(lambda: prepare_folder("criteo-kaggle", folder, next(made)), rows, repeats),
        "polars in memory": rate(lambda: prepared_by_polars(tsv), rows, repeats),
        "pandas in memory": rate(lambda: prepared_by_pandas(tsv), rows, repeats),
    }


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/data.json")
    parser.add_argument("--rows", type=int, default=2_000_000, help="prepared; raw: a quarter")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = raw_rows(options.rows // 4)
        rates = {
            "preparation from text": preparation(folder / "text", raw, options.repeats),
            "batches from Parquet, hashed": from_parquet(folder, raw, options.repeats),
            "batches from prepared columns": from_columns(folder, options.rows, options.repeats),
        }
    record = {
        "kind": "measured",
        "what": "rows/s/core, Criteo-shaped rows (13 dense, 26 one-hot)",
        "rates": rates,
        "rows": {"prepared columns": options.rows, "text and Parquet": len(raw)},
        "batch": BATCH,
        "repeats": options.repeats,
        "cpu": cpu_model(),
        "versions": {m.__name__: m.__version__ for m in (np, pd, pl, torch)}
        | {"python": platform.python_version()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def cpu_model() -> str:
    """Return the processor's name as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
