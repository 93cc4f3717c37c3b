"""What torchrec's planner is told of shards: the times of `cost_models`, and plans that follow."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner.estimator import EmbeddingPerfEstimatorFactory, ShardPerfContext

from cost_models.artifacts import cost_model
from cost_models.hardware import load_hardware
from cost_models.times.communication import Links
from cost_models.times.messages import vector_messages
from cost_models.times.step_ops import step_work
from cost_models.training import Training
from wukong.data_task import cluster_of
from wukong.embeddings import Cluster, PlacedTable, TableLayout
from wukong.embeddings.torchrec_tables.collection import collection
from wukong.embeddings.torchrec_tables.estimator import ShardTimes
from wukong.embeddings.torchrec_tables.planning import placed, planned
from wukong.parallel.ranks import Ranks
from wukong.schema import CategoricalFeature, InputSchema
from wukong.shape import TableSpec

A100 = cluster_of("NVIDIA A100-SXM4-80GB")
assert A100 is not None
ROOFLINE = cost_model(load_hardware("a100"), "fp32").operations


def shard(**figures: Any) -> ShardPerfContext:
    usual = {
        "sharding_type": "table_wise", "emb_dim": 64, "hash_size": 1000, "batch_sizes": [512],
        "num_poolings": [1.0], "input_lengths": [1.0], "world_size": 16, "local_world_size": 8,
    }  # fmt: skip
    return ShardPerfContext(**{**usual, **figures})


def total_ms(times: ShardTimes, one: ShardPerfContext) -> float:
    return (
        times.lookup_ms(one) + times.update_ms(one) + times.send_ms(one) + times.send_back_ms(one)
    )


@pytest.mark.parametrize("ranks", [1, 2, 8, 16, 64])
@pytest.mark.parametrize("sharding", ["table_wise", "row_wise"])
@pytest.mark.parametrize("lookups", ["fp32", "fp16"])
def test_a_shard_takes_what_the_cost_model_says(ranks: int, sharding: str, lookups: str) -> None:
    """One table for each rank, or one cut by rows: in bytes, without launching kernels."""
    tables = ranks if sharding == "table_wise" else 1
    features = [CategoricalFeature(name=f"c{i}", cardinality=64) for i in range(tables)]
    schema, batch = InputSchema(categorical=tuple(features)), np.array([512.0 * ranks])
    training = Training(
        ranks=ranks, table_backend="fused", table_optimizer="rowwise_adagrad",
        table_sharding=sharding, lookup_precision=lookups,
    )  # fmt: skip
    work = step_work({"d": 64}, schema, batch=batch, training=training)
    sent: list[Any] = []
    if work.share is not None:
        sent = vector_messages(work.share, batch, training)
    links = Links.of(load_hardware("a100"), ranks)
    seconds = sum(links.seconds(message)[0] for message in sent)
    for op in (*work.lookups, *work.table_update):
        seconds += op.bytes[0] / 2.039e12 / 0.5
    size = 2.0 if lookups == "fp16" else 4.0
    sizes = {
        f"{way}_{kind}_comm_data_type_size": size
        for way in ("fwd", "bwd")
        for kind in ("a2a", "sr")
    }
    one = shard(sharding_type=sharding, world_size=ranks, local_world_size=min(8, ranks), **sizes)
    assert A100 is not None
    times = ShardTimes(A100, tables=tables)
    assert total_ms(times, one) == pytest.approx(1e3 * float(seconds), rel=1e-9)


@given(
    st.sampled_from(["table_wise", "column_wise", "row_wise"]),
    st.integers(1, 64).map(lambda n: 4 * n),
    st.integers(1, 4096),
    st.sampled_from([1, 2, 8, 32]),
    st.floats(1.01, 8),
)
def test_more_bytes_and_slower_links_cost_more(
    sharding: str, columns: int, batch: int, ranks: int, more: float
) -> None:
    figures: dict[str, Any] = {
        "sharding_type": sharding, "world_size": ranks, "local_world_size": min(8, ranks)
    }  # fmt: skip
    assert A100 is not None
    times = ShardTimes(A100, tables=100)
    usual = total_ms(times, shard(emb_dim=columns, batch_sizes=[batch], **figures))
    assert total_ms(times, shard(emb_dim=columns + 4, batch_sizes=[batch], **figures)) > usual
    assert total_ms(times, shard(emb_dim=columns, batch_sizes=[batch + 1], **figures)) > usual
    for name, factor in (
        ("intra_node_bytes_per_s", 1 / more),
        ("inter_node_bytes_per_s", 1 / more),
        ("intra_node_latency_s", more),
        ("inter_node_latency_s", more),
    ):
        slower = dataclasses.replace(A100, **{name: factor * getattr(A100, name)})
        found = total_ms(
            ShardTimes(slower, tables=100),
            shard(emb_dim=columns, batch_sizes=[batch], **figures),
        )
        assert found >= usual
        if name == "intra_node_latency_s":
            assert (found > usual) == (ranks > 1)


def plan(cluster: Cluster) -> dict[str, PlacedTable]:
    """One wide table and sixteen narrow ones on two GPUs of one node."""
    widths = [256, *[16] * 16]
    specs = [
        TableSpec(feature=f"f{i}", cardinality=1000, width=w, multi_hot=False, pooling="sum")
        for i, w in enumerate(widths)
    ]
    layout = TableLayout(sharding="table_wise", batch_size=1024, cluster=cluster)
    ranks = Ranks(rank=0, world=2, device=torch.device("cuda"))
    sharder = EmbeddingBagCollectionSharder(fused_params={})
    return placed(specs, planned(collection(specs), specs, layout, sharder, ranks), layout)


def beside_the_wide_one(cluster: Cluster) -> int:
    found = plan(cluster)
    return sum(found[f"f{i}"].ranks == found["f0"].ranks for i in range(1, 17))


def test_the_links_decide_how_tables_are_dealt_out() -> None:
    """Where bytes count, sixteen tables of 16 columns are one of 256; where messages do, not."""
    usual = Cluster(memory_bytes=80e9)
    slow = dataclasses.replace(usual, intra_node_bytes_per_s=1e6)
    late = dataclasses.replace(usual, intra_node_latency_s=1.0)
    assert beside_the_wide_one(slow) == 0
    # Seventeen tables that cost nearly alike.
    assert beside_the_wide_one(late) in (7, 8)


def test_the_estimator_has_a_name_in_torchrec_s_table() -> None:
    assert EmbeddingPerfEstimatorFactory.is_registered("codesign")
