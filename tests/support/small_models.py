"""Small models of all sorts, for what must hold of any `nn.Module`.

B rows of a batch, F dense features, T tables, K ids a bag, N vectors of width D, I inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROWS = 6


class DotInteractions(nn.Module):
    """As in DLRM: a bottom MLP, dots of all pairs of vectors, a top MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(n, 4, mode="sum") for n in (7, 9, 5))
        self.bottom = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
        self.top = nn.Sequential(nn.Linear(4 + 6, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, dense_BF: Tensor, ids_BTK: Tensor) -> Tensor:
        x_BD = self.bottom(dense_BF)
        bags = [table(ids_BTK[:, t]) for t, table in enumerate(self.tables)]
        rows_BND = torch.stack([x_BD, *bags], dim=1)
        dots_BNN = rows_BND @ rows_BND.transpose(1, 2)
        first, second = torch.triu_indices(4, 4, offset=1)
        pairs_BP = dots_BNN[:, first, second]
        return self.top(torch.cat([x_BD, pairs_BP], dim=1))


class LowRankCross(nn.Module):
    """As in DCNv2: x' = x_0 ⊙ (U V x + b) + x."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(10, 3, bias=False) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(3, 10) for _ in range(3))

    def forward(self, x_BI: Tensor) -> Tensor:
        out_BI = x_BI
        for down, up in zip(self.down, self.up, strict=True):
            out_BI = x_BI * up(down(out_BI)) + out_BI
        return out_BI


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x_BND: Tensor) -> Tensor:
        q, k, v = self.project(x_BND).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x_BND: Tensor) -> tuple[Tensor, Tensor]:
        attended: tuple[Tensor, Tensor] = self.attention(x_BND, x_BND, x_BND)
        return attended


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(3, 4, kernel_size=3)
        self.two = nn.Conv2d(1, 2, kernel_size=3, padding=1, bias=False)
        self.back = nn.ConvTranspose2d(2, 1, kernel_size=2, stride=2)

    def forward(self, x_BCL: Tensor) -> Tensor:
        return self.back(F.relu(self.two(self.one(x_BCL)[:, None])))


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(ROWS, 5, 5))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x_BND: Tensor) -> dict[str, Tensor]:
        return {
            "einsum": torch.einsum("bnd,bde,bme->bnm", x_BND, self.w, x_BND),
            "baddbmm": torch.baddbmm(self.bias, x_BND, self.w),
            "matmul": x_BND @ self.w[0],
            "vector": x_BND @ self.bias,
        }


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = ((5, 7), (7, 6), (6, 3))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(*size), nn.ReLU(), nn.Linear(size[1], size[1]), nn.ReLU())
            for size in sizes
        )

    def forward(self, x_BI: Tensor) -> Tensor:
        for block in self.blocks:
            x_BI = checkpoint(block, x_BI, use_reentrant=False)
        return x_BI


def dense(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape)


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "dot interactions": lambda: (
        DotInteractions(),
        (dense(3), torch.zeros(ROWS, 3, 2, dtype=torch.int64)),
    ),
    "low-rank cross": lambda: (LowRankCross(), (dense(10),)),
    "attention": lambda: (Attention(), (dense(5, 8),)),
    "multi-head attention": lambda: (SelfAttention(), (dense(5, 8),)),
    "convolutions": lambda: (Convolutions(), (dense(3, 9),)),
    "products": lambda: (Products(), (dense(4, 5),)),
    "checkpointing": lambda: (Checkpointed(), (dense(5).requires_grad_(),)),
    "recurrence": lambda: (nn.GRUCell(4, 3), (dense(4),)),
    "transformer layer": lambda: (nn.TransformerEncoderLayer(8, 2, 16), (dense(5, 8),)),
}
