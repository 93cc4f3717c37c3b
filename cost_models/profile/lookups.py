"""Embedding tables on one device, in torch alone: pooled lookups and exact row-wise Adagrad.

No shape depends on the ids, so nothing waits for the device. T tables of R rows and width D,
stacked by rows; B examples with K ids per bag; V = B·T·K ids.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_DRAWN_ROWS = 1 << 16
_SKEW = 3.0  # ids are ⌊R·u^3⌋: an eighth of the rows gets half of the lookups


class StackedTables:
    """T tables as one matrix, with one optimizer state per row.

    Args:
        tables, rows, width: T, R and D.
        dtype: of the weights; state and update are FP32.
    """

    def __init__(
        self,
        tables: int,
        rows: int,
        width: int,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # Drawing billions of weights would take longer than measuring: a block of them repeats.
        total = tables * rows
        block_RD = torch.randn(min(total, _DRAWN_ROWS), width, device=device, dtype=dtype)
        self.weight_RD = torch.empty(total, width, device=device, dtype=dtype)
        for part_RD in self.weight_RD.split(len(block_RD)):
            part_RD.copy_(block_RD[: len(part_RD)])
        self.state_R = torch.zeros(total, device=device)
        self.tables, self.rows = tables, rows
        self.lr, self.eps = 1e-2, 1e-8

    def draw_ids(self, batch: int, ids_per_bag: int) -> Tensor:
        """Draw skewed ids (B·T, K), rows of the stacked matrix."""
        device = self.weight_RD.device
        u = torch.rand(batch, self.tables, ids_per_bag, device=device)
        first_T1 = torch.arange(self.tables, device=device)[:, None] * self.rows
        ids = (self.rows * u**_SKEW).long().clamp_(max=self.rows - 1) + first_T1
        return ids.flatten(0, 1)

    def look_up(self, ids_BK: Tensor) -> Tensor:
        """Return the sums of each bag's rows, (B·T, D)."""
        if ids_BK.shape[1] == 1:
            return F.embedding(ids_BK[:, 0], self.weight_RD)
        return F.embedding_bag(ids_BK, self.weight_RD, mode="sum")

    def update(self, ids_BK: Tensor, grad_BD: Tensor) -> None:
        """One step of row-wise Adagrad for the rows looked up.

        A row looked up several times learns from the sum of its gradients, as FBGEMM's exact
        kernels do: the ids are sorted, and equal ones are summed into one place. What it costs is
        what it costs in torch, not in FBGEMM.

        Args:
            ids_BK: as looked up.
            grad_BD: gradient of the bags, (B·T, D).
        """
        row_V, order_V = ids_BK.flatten().sort()
        starts_V = torch.ones_like(row_V, dtype=torch.bool)
        starts_V[1:] = row_V[1:] != row_V[:-1]
        place_V = starts_V.cumsum(0) - 1
        source_V = torch.div(order_V, ids_BK.shape[1], rounding_mode="floor")
        grad_VD = torch.zeros(len(row_V), grad_BD.shape[1], device=grad_BD.device)
        grad_VD.index_add_(0, place_V, grad_BD.float()[source_V])
        # Places that no row fills add 0 somewhere, spread out: they must not meet in one row.
        target_V = torch.arange(len(row_V), device=row_V.device) % len(self.state_R)
        target_V.scatter_(0, place_V, row_V)
        self.state_R.index_add_(0, target_V, grad_VD.square().mean(dim=1))
        scale_V = -self.lr / (self.state_R[target_V].sqrt() + self.eps)
        step_VD = grad_VD * scale_V[:, None]
        self.weight_RD.index_add_(0, target_V, step_VD.to(self.weight_RD.dtype))
