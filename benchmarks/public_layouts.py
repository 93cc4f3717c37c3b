"""How three public codes lay Wukong out in plain PyTorch, with the weights of one of our models.

Written from what `wukong.parity` says of them: reczoo/FuxiCTR, alibaba/TorchEasyRec and
clabrugere/wukong-recommendation. All keep X as (B, N, D), mix rows by one large product over
X transposed, and make FM(X) = X (Xᵀ Y) with one small product for each example:

    name           mixes over rows are            tables are
    fuxictr        linear maps, (M, N)            one embedding for each feature, stacked
    torcheasyrec   products by (N, M)             one bag of one id for each feature, concatenated
    clabrugere     products by (N, M)             one embedding for all features, ids shifted

Here all three compute the paper's form and nothing else: their own extras (batch norms in MLPs and
head, a last ReLU, a bias of the residual mix) are left out, which can only make them faster.

B examples, N rows, D width, M rows of an output, F features.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from wukong.data.batch import Batch
from wukong.layers import MLP, LinearCompressBlock, WukongLayer
from wukong.model import Wukong

NAMES = ("fuxictr", "torcheasyrec", "clabrugere")


class PublicLayout(nn.Module):
    """One of the three codes, computing what `model` computes with weights of its own.

    Args:
        name: of `NAMES`.
        model: of the paper's form, on one-hot features alone.
        table_FVD: one table for each feature, (V, D); None: the batch is looked up by a copy of
            the model's own tables.
    """

    def __init__(self, name: str, model: Wukong, table_FVD: list[Tensor] | None) -> None:
        super().__init__()
        self.tables: nn.Module = (
            copy.deepcopy(model.tables) if table_FVD is None else _TABLES[name](table_FVD)
        )
        layers = [layer for layer in model.layers if isinstance(layer, WukongLayer)]
        self.layers = nn.ModuleList(_Layer(layer, as_linear=name == "fuxictr") for layer in layers)
        self.head = _mlp(model.heads[0])

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits, (B, 1)."""
        rows_BP = self.tables(batch)
        x_BND = rows_BP.view(len(rows_BP), -1, self.layers[0].width)
        for layer in self.layers:
            x_BND = layer(x_BND)
        return self.head(x_BND.flatten(1))


class _Layer(nn.Module):
    def __init__(self, layer: WukongLayer, *, as_linear: bool) -> None:
        super().__init__()
        mix = _LinearOverRows if as_linear else _ProductOverRows
        self.width = layer.norm.normalized_shape[0]
        self.y = nn.Parameter(layer.fmb.y.detach().clone())
        self.fm_norm = copy.deepcopy(layer.fmb.norm)
        self.mlp = _mlp(layer.fmb.mlp)
        self.lcb = mix(layer.lcb.weight)
        mixes = isinstance(layer.residual, LinearCompressBlock)
        self.residual = mix(layer.residual.weight) if mixes else nn.Identity()
        self.norm = copy.deepcopy(layer.norm)

    def forward(self, x_BND: Tensor) -> Tensor:
        fm_BNK = torch.bmm(x_BND, torch.matmul(x_BND.permute(0, 2, 1), self.y))
        fmb_BFD = self.mlp(self.fm_norm(fm_BNK.flatten(1))).view(len(x_BND), -1, self.width)
        new_BMD = torch.cat((fmb_BFD, self.lcb(x_BND)), dim=1)
        return self.norm(new_BMD + self.residual(x_BND))


class _LinearOverRows(nn.Linear):
    def __init__(self, weight_MN: Tensor) -> None:
        super().__init__(weight_MN.shape[1], weight_MN.shape[0], bias=False)
        self.weight = nn.Parameter(weight_MN.detach().clone())

    def forward(self, x_BND: Tensor) -> Tensor:
        return super().forward(x_BND.permute(0, 2, 1)).permute(0, 2, 1)


class _ProductOverRows(nn.Module):
    def __init__(self, weight_MN: Tensor) -> None:
        super().__init__()
        self.weight_NM = nn.Parameter(weight_MN.detach().T.contiguous())

    def forward(self, x_BND: Tensor) -> Tensor:
        return torch.matmul(x_BND.permute(0, 2, 1), self.weight_NM).permute(0, 2, 1)


class _StackedEmbeddings(nn.Module):
    def __init__(self, table_FVD: list[Tensor]) -> None:
        super().__init__()
        embeddings = [nn.Embedding.from_pretrained(t.clone(), freeze=False) for t in table_FVD]
        self.embeddings = nn.ModuleList(embeddings)

    def forward(self, batch: Batch) -> Tensor:
        ids_BF = batch.one_hot_BF.long()
        rows = [table(ids_BF[:, f]) for f, table in enumerate(self.embeddings)]
        return torch.stack(rows, dim=1).flatten(1)


class _Bags(nn.Module):
    def __init__(self, table_FVD: list[Tensor]) -> None:
        super().__init__()
        bags = [nn.EmbeddingBag.from_pretrained(t.clone(), False, mode="sum") for t in table_FVD]
        self.bags = nn.ModuleList(bags)

    def forward(self, batch: Batch) -> Tensor:
        ids_FB = batch.one_hot_BF.T.long()
        first_B = torch.arange(len(batch), device=ids_FB.device)
        return torch.cat([bag(i_B, first_B) for bag, i_B in zip(self.bags, ids_FB, strict=True)], 1)


class _OneEmbedding(nn.Module):
    def __init__(self, table_FVD: list[Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat(table_FVD))
        rows = torch.tensor([0, *(len(table) for table in table_FVD[:-1])])
        self.register_buffer("first_row_F", rows.cumsum(0))

    def forward(self, batch: Batch) -> Tensor:
        return functional.embedding(batch.one_hot_BF + self.first_row_F, self.weight).flatten(1)


_TABLES: dict[str, type[nn.Module]] = {
    "fuxictr": _StackedEmbeddings,
    "torcheasyrec": _Bags,
    "clabrugere": _OneEmbedding,
}


def _mlp(mlp: MLP) -> nn.Sequential:
    linears = []
    for ours in mlp.linears:
        linears.append(nn.Linear(ours.in_features, ours.out_features))
        linears[-1].load_state_dict(ours.state_dict())
    hidden = [part for linear in linears[:-1] for part in (linear, nn.ReLU())]
    return nn.Sequential(*hidden, linears[-1])
