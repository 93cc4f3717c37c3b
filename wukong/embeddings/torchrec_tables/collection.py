"""Our features and batches in torchrec's terms. B examples, F features, W the sum of widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchrec import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    KeyedJaggedTensor,
    KeyedTensor,
    PoolingType,
)
from torchrec.modules.embedding_configs import DataType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wukong.data.batch import Batch
    from wukong.shape import TableSpec

_POOLING = {"sum": PoolingType.SUM, "mean": PoolingType.MEAN}
_DATA_TYPES = {"fp32": DataType.FP32, "fp16": DataType.FP16}


def keyed_jagged(specs: Sequence[TableSpec], batch: Batch) -> KeyedJaggedTensor:
    """Join the one-hot and the multi-hot ids: one-hot features first, each with length 1.

    Where ids are feature-major in memory and no feature is multi-hot, nothing is copied.
    """
    keys = [s.feature for s in specs if not s.multi_hot] + [s.feature for s in specs if s.multi_hot]
    one_hot_FB = batch.one_hot_BF.t()
    values, lengths = one_hot_FB.flatten(), torch.ones_like(one_hot_FB).flatten()
    if len(batch.bag_lengths_FB):
        values = torch.cat([values, batch.bag_values])
        lengths = torch.cat([lengths, batch.bag_lengths_FB.flatten()])
    return KeyedJaggedTensor(keys=keys, values=values, lengths=lengths)


def side_by_side(pooled: KeyedTensor, specs: Sequence[TableSpec]) -> Tensor:
    """Join what was looked up in the order of the specs (B, W); mostly it lies so already.

    Split at once: a slice for each feature would fill a gradient of full size in backward.
    """
    keys = pooled.keys()
    if keys == [spec.feature for spec in specs]:
        return pooled.values()
    parts = torch.split(pooled.values(), pooled.length_per_key(), dim=1)
    of_feature = dict(zip(keys, parts, strict=True))
    return torch.cat([of_feature[spec.feature] for spec in specs], dim=1)


def table_names(specs: Sequence[TableSpec]) -> dict[str, str]:
    """Feature → name of its table: a feature's own name may hold a dot, a module's may not."""
    return {spec.feature: f"table_{i}" for i, spec in enumerate(specs)}


def collection(specs: Sequence[TableSpec], precision: str = "fp32") -> EmbeddingBagCollection:
    """Build the collection without memory (on `meta`), one table per feature."""
    names = table_names(specs)
    configs = [
        EmbeddingBagConfig(
            name=names[spec.feature],
            feature_names=[spec.feature],
            num_embeddings=spec.cardinality,
            embedding_dim=spec.width,
            pooling=_POOLING[spec.pooling] if spec.multi_hot else PoolingType.SUM,
            data_type=_DATA_TYPES[precision],
        )
        for spec in specs
    ]
    return EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
