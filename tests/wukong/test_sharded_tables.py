"""Fused tables over real ranks, against float64 tables trained one row at a time."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.fx import _symbolic_trace
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder

from codesign.errors import ConfigError
from tests.support.ranks import on_ranks
from tests.support.sharded_tables import (
    batch_of,
    fused,
    lookups,
    part,
    reference_lookup,
    reference_training,
    spec,
    train,
)
from wukong.device.memory import DoesNotFitError
from wukong.embeddings import Cluster, PlacedTable, TableLayout, TableOptimizer, summary
from wukong.embeddings.torchrec_tables import FusedTables
from wukong.embeddings.torchrec_tables.collection import collection
from wukong.embeddings.torchrec_tables.planning import placed, planned
from wukong.parallel.ranks import Ranks
from wukong.shape import TableSpec
from wukong.train_config import TableSharding

# One row; narrower and wider than a shard; a width that 8 does not divide; bags with empty ones.
SPECS = (
    spec("user.id", 7, 24),
    spec("one row", 1, 16),
    spec("genres", 9, 4, "mean"),
    spec("odd", 5, 20),
    spec("tags", 11, 16, "sum"),
    spec("city", 6, 8),
)
COLUMNS_OF_SHARD = {"user.id": 8, "one row": 8, "genres": 4, "odd": 20, "tags": 8, "city": 8}
WHOLE = {s.feature: s.width for s in SPECS}
# At four ranks the third batch leaves one without examples, the fourth leaves three without.
SIZES = (13, 16, 3, 1, 13)
BATCHES = [batch_of(SPECS, n, i, np.int32 if i % 2 else np.int64) for i, n in enumerate(SIZES)]
SGD = TableOptimizer(name="sgd", lr=0.1)
ADAGRAD = TableOptimizer(name="rowwise_adagrad", lr=0.1)
CASES = {
    "columns, sgd": (SGD, TableLayout(shard_columns=8)),
    "columns, adagrad": (ADAGRAD, TableLayout(shard_columns=8)),
    "tables, sgd": (SGD, TableLayout(sharding="table_wise")),
    "tables, adagrad": (ADAGRAD, TableLayout(sharding="table_wise")),
    "fp16 tables": (ADAGRAD, TableLayout(shard_columns=8, precision="fp16")),
    "fp16 lookups": (ADAGRAD, TableLayout(shard_columns=8, lookup_precision="fp16")),
}


def all_cases() -> dict[str, dict[str, Any]]:
    """What each case looks up before training, holds after it, and how it was laid out."""
    found = {}
    for name, (optimizer, layout) in CASES.items():
        tables = fused(SPECS, optimizer, layout)
        before = tables.weights()
        pooled = [lookups(tables, batch) for batch in BATCHES]
        train(tables, BATCHES)
        found[name] = {
            "before": {feature: table.numpy() for feature, table in before.items()},
            "pooled": pooled,
            "after": {feature: table.numpy() for feature, table in tables.weights().items()},
            "placement": tables.placement,
            "held_bytes": held_bytes(tables),
        }
    return found


def held_bytes(tables: FusedTables) -> int:
    """What this rank's shards take, asked of the tensors themselves."""
    found: dict[str, Any] = tables.sharded_weights()
    return sum(part.tensor.nbytes for whole in found.values() for part in whole.local_shards())


@functools.cache
def outcomes(world: int) -> list[dict[str, dict[str, Any]]]:
    """Of each rank."""
    return on_ranks(world, all_cases)


def distance(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(found[feature] - expected[feature]).max()) for feature in expected)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("case", ["columns, sgd", "tables, sgd", "fp16 tables", "fp16 lookups"])
def test_each_rank_looks_up_its_examples(world: int, case: str) -> None:
    ranks = [outcome[case] for outcome in outcomes(world)]
    for i, batch in enumerate(BATCHES):
        parts = reference_lookup(SPECS, batch)
        expected = [share @ ranks[0]["before"][s.feature] for s, share in parts]
        found = np.concatenate([rank["pooled"][i] for rank in ranks])
        assert found.dtype == np.float32
        # FP16 keeps 11 bits of vectors that are below 2 here; the rest is FP32.
        tolerance = 1e-3 if "lookups" in case else 1e-6
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=tolerance)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize(
    "case", ["columns, sgd", "columns, adagrad", "tables, sgd", "tables, adagrad"]
)
def test_tables_on_ranks_learn_as_float64_tables_do(world: int, case: str) -> None:
    optimizer, _ = CASES[case]
    found = outcomes(world)[0][case]
    columns = COLUMNS_OF_SHARD if case.startswith("columns") else WHOLE
    expected = reference_training(SPECS, found["before"], BATCHES, optimizer, columns)
    assert distance(found["after"], expected) < 1e-6
    assert distance(found["before"], expected) > 0.01


def test_one_accumulator_per_column_shard_is_told_from_one_per_row() -> None:
    found = outcomes(1)[0]["columns, adagrad"]
    per_row = reference_training(SPECS, found["before"], BATCHES, ADAGRAD, WHOLE)
    assert distance(found["after"], per_row) > 1e-3


@pytest.mark.parametrize("case", ["columns, sgd", "columns, adagrad", "fp16 tables"])
def test_tables_are_the_same_to_the_bit_at_every_number_of_ranks(case: str) -> None:
    one, two, four = (outcomes(world)[0][case]["after"] for world in (1, 2, 4))
    assert distance(two, one) == distance(four, one) == 0


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(
    ("case", "tolerance"),
    # Five updates of at most lr / √n each, rounded to 11 bits of weights below 1; or their
    # gradients rounded to 8 bits.
    [("fp16 tables", 5 * 2**-11), ("fp16 lookups", 5 * 0.1 * 2**-8)],
)
def test_half_precision_stays_within_its_rounding(world: int, case: str, tolerance: float) -> None:
    found = outcomes(world)[0][case]
    expected = reference_training(SPECS, found["before"], BATCHES, ADAGRAD, COLUMNS_OF_SHARD)
    assert 1e-5 < distance(found["after"], expected) < tolerance


@pytest.mark.parametrize("world", [1, 2, 4])
def test_column_shards_have_the_same_width_at_every_number_of_ranks(world: int) -> None:
    placement = outcomes(world)[-1]["columns, sgd"]["placement"]
    for s in SPECS:
        columns = COLUMNS_OF_SHARD[s.feature]
        placed = placement[s.feature]
        assert placed.sharding == "column_wise"
        assert placed.shard_sizes == ((s.cardinality, columns),) * (s.width // columns)
        assert len(placed.ranks) == len(placed.shard_sizes)
    assert {rank for placed in placement.values() for rank in placed.ranks} == set(range(world))


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("case", ["columns, sgd", "tables, sgd", "fp16 tables"])
def test_the_summary_says_what_each_rank_holds(world: int, case: str) -> None:
    ranks = [outcome[case] for outcome in outcomes(world)]
    said = summary(ranks[0]["placement"].values(), world)
    sharding = CASES[case][1].sharding
    assert said["shardings"] == {sharding: len(SPECS)}
    columns = WHOLE if sharding == "table_wise" else COLUMNS_OF_SHARD
    assert said["shards"] == sum(s.width // columns[s.feature] for s in SPECS)
    held = [rank["held_bytes"] / 2**20 for rank in ranks]
    assert said["mib_per_rank"] == pytest.approx(held, rel=1e-12)


def test_a_warning_of_torch_about_torchrec_is_kept_from_the_logs() -> None:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("torch.fx._symbolic_trace")
    logger.addHandler(handler)
    try:
        _symbolic_trace.is_fx_tracing_warning.cache_clear()
        _symbolic_trace.is_fx_tracing_warning()
        logger.warning("another")
    finally:
        logger.removeHandler(handler)
    assert heard == ["another"]


def state(tables: FusedTables) -> dict[str, dict[str, torch.Tensor]]:
    return {"weights": tables.sharded_weights(), "sums": tables.sharded_accumulators()}


def save_halfway(folder: str) -> dict[str, Any]:
    """Train, save, train on; then go back to a copy in memory and train on again."""
    tables = fused(SPECS, *CASES["columns, adagrad"])
    train(tables, BATCHES[:3])
    dcp.save(state(tables), checkpoint_id=folder)
    halfway = tables.weights()
    kept = {key: {f: t.clone() for f, t in named.items()} for key, named in state(tables).items()}
    train(tables, BATCHES[3:])
    end = tables.weights()
    for key, tensors in state(tables).items():
        for name, tensor in tensors.items():
            tensor.copy_(kept[key][name])
    back = tables.weights()
    train(tables, BATCHES[3:])
    bytes_held = sum(
        shard.tensor.nbytes for t in tables.sharded_weights().values() for shard in t.local_shards()
    )
    return {
        "halfway": halfway,
        "end": end,
        "back": back,
        "end again": tables.weights(),
        "bytes": bytes_held,
    }


def continue_from(folder: str) -> dict[str, torch.Tensor]:
    tables = fused(SPECS, *CASES["columns, adagrad"], seed=99)
    dcp.load(state(tables), checkpoint_id=folder)
    train(tables, BATCHES[3:])
    return tables.weights()


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for feature, table_RD in expected.items():
        torch.testing.assert_close(found[feature], table_RD, atol=0, rtol=0)


@pytest.mark.parametrize(("saved_by", "read_by"), [(1, 4), (2, 1), (4, 2)])
def test_weights_and_accumulators_are_read_at_another_number_of_ranks(
    saved_by: int, read_by: int, tmp_path: Path
) -> None:
    ends = [rank["end"] for rank in on_ranks(saved_by, save_halfway, str(tmp_path))]
    for found in on_ranks(read_by, continue_from, str(tmp_path)):
        assert_same(found, ends[0])


def test_a_copy_in_memory_holds_the_shards_of_its_rank_and_brings_them_back(
    tmp_path: Path,
) -> None:
    ranks = on_ranks(2, save_halfway, str(tmp_path))
    for rank in ranks:
        assert_same(rank["back"], rank["halfway"])
        assert_same(rank["end again"], rank["end"])
    whole = sum(4 * s.cardinality * s.width for s in SPECS)
    assert sum(rank["bytes"] for rank in ranks) == whole
    assert max(rank["bytes"] for rank in ranks) < whole


def refusals() -> list[str]:
    """What each rank is told: of tables that do not fit, and of row-wise ones."""
    small = Cluster(memory_bytes=1e6)
    said = []
    for layout in (TableLayout(cluster=small), TableLayout(sharding="row_wise")):
        with pytest.raises(ConfigError) as refused:
            fused([spec("f", 10_000, 64)], SGD, layout)
        said.append(str(refused.value))
    return said


def test_every_rank_is_told_why_tables_cannot_be_laid_out() -> None:
    first, second = on_ranks(2, refusals)
    assert first == second
    for figure in ("0.00256 GB", "2 ranks", "0.00085 GB each", "column_wise", "fp16"):
        assert figure in first[0]
    assert "'row_wise' on the CPU" in first[1]


def begun_ahead() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], np.ndarray]:
    """Weights after training, with each batch begun ahead and without, and a lookup in between."""
    plainly, ahead = (fused(SPECS, *CASES["columns, adagrad"]) for _ in range(2))
    train(plainly, BATCHES)
    train(ahead, BATCHES, ahead=True)
    # Begun and given up, as by a run that ends early: later batches must not be taken for it.
    ahead.begin(part(BATCHES[0], Ranks.present()))
    return plainly.weights(), ahead.weights(), lookups(ahead, BATCHES[1])


def test_batches_begun_ahead_train_as_batches_begun_in_their_turn() -> None:
    ranks = on_ranks(2, begun_ahead)
    for plainly, ahead, _ in ranks:
        assert_same(ahead, plainly)
    parts = reference_lookup(SPECS, BATCHES[1])
    expected = [share @ ranks[0][1][s.feature].numpy() for s, share in parts]
    found = np.concatenate([pooled for _, _, pooled in ranks])
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-6)


def one_table(sharding: TableSharding) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """Fewer tables than ranks; a batch that no rank but the last has an example of."""
    tables = fused([spec("f", 3, 4)], SGD, TableLayout(sharding=sharding))
    batch = batch_of([spec("f", 3, 4)], 1, seed=0)
    pooled = lookups(tables, batch)
    train(tables, [batch])
    return pooled, tables.weights()


@pytest.mark.parametrize("sharding", ["column_wise", "table_wise"])
def test_one_table_on_four_ranks(sharding: TableSharding) -> None:
    ranks = on_ranks(4, one_table, sharding)
    assert [len(pooled) for pooled, _ in ranks] == [0, 0, 0, 1]
    (row,), after = ranks[3][0], ranks[0][1]["f"].numpy()
    expected = row - 0.1 * 2 * (row - np.linspace(-1, 1, 4))
    assert np.abs(after - expected).max(axis=1).min() < 1e-6


def test_a_batch_without_examples_looks_up_nothing_and_trains_nothing() -> None:
    tables = fused(SPECS, *CASES["columns, adagrad"])
    before = tables.weights()
    none = batch_of(SPECS, 0, seed=0)
    assert tables(none).shape == (0, sum(s.width for s in SPECS))
    tables(none).sum().backward()
    assert_same(tables.weights(), before)


def gpu_plan(layout: TableLayout, specs: Sequence[TableSpec] = SPECS) -> dict[str, PlacedTable]:
    """A plan for eight GPUs, which nothing but its topology asks for."""
    ranks = Ranks(rank=0, world=8, device=torch.device("cuda"))
    sharder = EmbeddingBagCollectionSharder(fused_params={})
    return placed(specs, planned(collection(specs), specs, layout, sharder, ranks), layout)


H100 = Cluster(
    memory_bytes=80e9,
    memory_bytes_per_s=3.35e12,
    intra_node_bytes_per_s=450e9,
    inter_node_bytes_per_s=50e9,
    ranks_per_node=4,
)


def test_row_wise_tables_have_equal_runs_of_rows_on_all_gpus() -> None:
    rows = gpu_plan(TableLayout(sharding="row_wise", cluster=H100))["tags"]
    assert rows.ranks == tuple(range(8))
    # ⌈11 / 8⌉ rows each, as long as there are some.
    assert [n for n, _ in rows.shard_sizes] == [2, 2, 2, 2, 2, 1, 0, 0]


def test_column_shards_are_as_wide_on_gpus_and_spread_evenly() -> None:
    specs = [spec(f"f{i}", 1000, 64) for i in range(16)]
    plan = gpu_plan(TableLayout(shard_columns=32, cluster=H100), specs)
    ranks = [rank for table in plan.values() for rank in table.ranks]
    assert Counter(ranks) == dict.fromkeys(range(8), 4)
    assert {size for table in plan.values() for size in table.shard_sizes} == {(1000, 32)}


def test_a_table_wider_than_one_gpus_memory_fits_in_column_shards_only() -> None:
    specs = [spec("f", 250_000_000, 128)]  # 128 GB
    plan = gpu_plan(TableLayout(shard_columns=32, cluster=H100), specs)
    assert len(set(plan["f"].ranks)) > 1
    with pytest.raises(
        DoesNotFitError, match=r"128 GB.*cannot be laid table_wise over 8 ranks.*68 GB"
    ):
        gpu_plan(TableLayout(sharding="table_wise", cluster=H100), specs)
