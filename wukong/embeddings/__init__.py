"""Embedding tables behind one interface, with interchangeable backends."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from codesign.errors import ConfigError
from wukong.embeddings.base import TableOptimizer, Tables, initial_weights
from wukong.embeddings.layout import Cluster, PlacedTable, TableLayout, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wukong.parallel.ranks import Ranks
    from wukong.shape import TableSpec

__all__ = [
    "BACKENDS",
    "Cluster",
    "PlacedTable",
    "TableLayout",
    "TableOptimizer",
    "Tables",
    "build_tables",
    "initial_weights",
    "summary",
]

BACKENDS = {
    "plain": "wukong.embeddings.plain:PlainTables",
    "dense": "wukong.embeddings.torchrec_tables:DenseTables",
    "fused": "wukong.embeddings.torchrec_tables:FusedTables",
}


def build_tables(
    backend: str,
    specs: Sequence[TableSpec],
    *,
    init_std: float,
    optimizer: TableOptimizer,
    seed: int,
    layout: TableLayout | None = None,
    ranks: Ranks | None = None,
) -> Tables:
    """Build one table per spec; equal seeds give equal initial weights on every backend.

    Args:
        backend: `plain` needs torch only; `dense` is torchrec's EmbeddingBagCollection; `fused`
            is torchrec's DistributedModelParallel, which updates the tables inside backward.
        init_std: standard deviation of the initial weights, > 0.
        layout: of the fused tables; the other backends have float32 tables in one piece.
        ranks: that hold the fused tables together; None: those of the default process group.

    Raises:
        ConfigError: an unknown backend, or settings that it cannot have.
        MissingPackageError: torchrec is needed and cannot be imported.
    """
    if backend not in BACKENDS:
        near = get_close_matches(backend, BACKENDS, n=1)
        raise ConfigError(
            f"table backend {backend!r} is unknown; one of {', '.join(BACKENDS)}",
            hint=f"did you mean {near[0]!r}?" if near else "",
        )
    if not init_std > 0:
        raise ConfigError(f"table init std is {init_std}; must be > 0")
    module, name = BACKENDS[backend].split(":")
    build = getattr(import_module(module), name)
    tables: Tables = (
        build(specs, optimizer, layout, ranks) if backend == "fused" else build(specs, optimizer)
    )
    for feature, table_RD in initial_weights(specs, init_std=init_std, seed=seed):
        tables.load_weights({feature: table_RD})
    return tables
