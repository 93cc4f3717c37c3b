"""Models as a user would bring them, sound ones and others."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wukong.embeddings import TableOptimizer, build_tables
from wukong.shape import WukongConfig, table_specs

if TYPE_CHECKING:  # so that annotations name what does not exist when the program runs
    from wukong.data.batch import Batch
    from wukong.schema import InputSchema


class DeepFM(nn.Module):
    """Embeddings of one-hot and multi-hot features, their pairwise products, and an MLP."""

    def __init__(
        self,
        schema: InputSchema,
        *,
        d: int = 4,
        width: int = 8,
        depth: int = 1,
        activation: Literal["relu", "gelu"] = "relu",
        dropout: float = 0.0,
        norm: bool = False,
        tasks: int | None = None,
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError("width must be even")
        self.rows = nn.ModuleList(nn.Embedding(f.cardinality, d) for f in schema.one_hot)
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(f.cardinality, d, mode=f.pooling) for f in schema.multi_hot
        )
        self.dense = nn.Linear(len(schema.dense), d, bias=False)
        self.bias = nn.Parameter(torch.zeros(()))
        sizes = [d * (len(schema.categorical) + 1), *[width] * depth]
        hidden: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(sizes):
            hidden += [nn.Linear(n_in, n_out), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            hidden += [nn.BatchNorm1d(n_out)] if norm else []
        self.mlp = nn.Sequential(*hidden, nn.Linear(sizes[-1], tasks or 1))
        self.activation, self.tasks = activation, tasks

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (B,) or (B, T)."""
        parts = [row(batch.one_hot_BF[:, i]) for i, row in enumerate(self.rows)]
        ids = batch.bag_values.split(batch.bag_lengths_FB.sum(dim=1).tolist())
        for bag, values, lengths in zip(self.bags, ids, batch.bag_lengths_FB, strict=True):
            parts.append(bag(values.long(), F.pad(lengths.cumsum(0), (1, 0))[:-1]))
        parts.append(self.dense(batch.dense_BD))
        stacked = torch.stack(parts, dim=1)
        pairs = (stacked @ stacked.transpose(1, 2)).mean(dim=(1, 2))
        deep = self.mlp(stacked.flatten(1)) + self.bias + pairs[:, None]
        deep = F.gelu(deep) if self.activation == "gelu" else deep
        return deep if self.tasks else deep.squeeze(1)


class WithTables(nn.Module):
    """Looks features up in one of this project's own table backends."""

    def __init__(self, schema: InputSchema, *, d: int = 4) -> None:
        super().__init__()
        specs = table_specs(WukongConfig(d=d), schema)
        self.tables = build_tables(
            "plain", specs, init_std=0.1, optimizer=TableOptimizer(name="sgd", lr=0.5), seed=0
        )
        self.head = nn.Linear(sum(spec.width for spec in specs), 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (B, 1)."""
        return self.head(self.tables(batch))


class Linear(nn.Module):
    """A bias for each id of the first feature; what `forward` returns can be spoilt."""

    def __init__(
        self,
        schema: InputSchema,
        *,
        spoilt: Literal["no", "value", "shape", "none", "building"] = "no",
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.bias = nn.Embedding(schema.one_hot[0].cardinality, 1, sparse=sparse)
        self.spoilt = spoilt
        if spoilt == "building":
            self.scale = float(self.bias.weight.detach().std())

    def forward(self, batch: Batch) -> Any:
        """Logits, (B,)."""
        logit_B = self.bias(batch.one_hot_BF[:, 0]).squeeze(1)
        if self.spoilt == "value" and logit_B.max().item() > 0:
            return -logit_B
        if self.spoilt == "shape":
            return logit_B[:3]
        return None if self.spoilt == "none" else logit_B


class InPlace(Linear):
    """Writes what its weights make into tensors that it starts itself."""

    def __init__(self, schema: InputSchema) -> None:
        super().__init__(schema)
        self.maps = nn.ModuleList(nn.Linear(len(schema.dense), 3) for _ in range(2))

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (B,)."""
        rows_BND = torch.zeros(len(batch), 2, 3)
        for i, part in enumerate(self.maps):
            rows_BND[:, i] = part(batch.dense_BD)
        logit_B = torch.zeros(len(batch))
        logit_B += (rows_BND @ rows_BND.transpose(1, 2)).sum(dim=(1, 2))
        logit_B.add_(self.bias(batch.one_hot_BF[:, 0]).squeeze(1))
        return logit_B


class Wasteful(Linear):
    """Computes with a map whose result is thrown away, and one called by keyword."""

    def __init__(self, schema: InputSchema, *, width: int = 4, kept: bool = False) -> None:
        super().__init__(schema)
        self.unused = nn.Linear(1, width)
        self.by_name = nn.Linear(1, width)
        self.kept = kept

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (B,)."""
        logit_B1 = self.bias(batch.one_hot_BF[:, 0])
        if self.kept:
            return self.by_name(input=logit_B1).sum(dim=1)
        self.unused(logit_B1)
        return logit_B1.squeeze(1)


def no_module(schema: InputSchema, *, width: int = 3) -> str:
    """Build nothing."""
    return f"{len(schema.dense)} features, width {width}"


def no_schema(*, width: int = 3) -> None:
    """A builder that takes no schema."""


def positional(schema: InputSchema, width: int, *sizes: int, **others: float) -> None:
    """A builder whose arguments have no names."""


def odd_arguments(
    schema: InputSchema,
    *,
    bare=3,
    layers: list[int] = [],  # noqa: B006
    batch: Batch | None = None,
    form: Literal[1, 2] = 1,
    name: str = "x",
    dense_lr: float = 0.1,
    width: int = 2.5,  # type: ignore[assignment]
    flag: int = True,
    kind: Literal["a", "b"] = "c",  # type: ignore[assignment]
) -> None:
    """A builder with everything wrong that can be."""


def needs_width(schema: InputSchema, *, width: int, gate: float | None = None) -> nn.Module:
    """A builder with an argument that has no default."""
    return DeepFM(schema, width=width, dropout=gate or 0.0)


needs_width_object = 3
