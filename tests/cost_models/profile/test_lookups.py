"""Lookups and row-wise Adagrad against NumPy, and against ours on dense gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cost_models.profile.lookups import StackedTables
from wukong.optim import RowWiseAdagrad

CPU = torch.device("cpu")
TABLES, ROWS, WIDTH, BATCH = 3, 5, 4, 6


def stacked(dtype: torch.dtype = torch.float32) -> StackedTables:
    torch.manual_seed(0)
    return StackedTables(TABLES, ROWS, WIDTH, device=CPU, dtype=dtype)


@pytest.mark.parametrize("ids_per_bag", [1, 2, 7])
def test_a_bag_is_the_sum_of_its_rows(ids_per_bag: int) -> None:
    tables = stacked()
    ids_BK = tables.draw_ids(BATCH, ids_per_bag)
    weight_RD = tables.weight_RD.numpy().astype(np.float64)
    expected_BD = weight_RD[ids_BK.numpy()].sum(axis=1)
    np.testing.assert_allclose(tables.look_up(ids_BK).numpy(), expected_BD, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ids_per_bag", [1, 2, 7])
def test_updates_are_those_of_rowwise_adagrad_on_the_dense_gradient(ids_per_bag: int) -> None:
    tables = stacked()
    weight_RD = nn.Parameter(tables.weight_RD.double())
    start_RD = weight_RD.detach().clone()
    optimizer = RowWiseAdagrad([weight_RD], lr=tables.lr)
    seen: set[int] = set()
    for _ in range(4):
        ids_BK = tables.draw_ids(BATCH, ids_per_bag)
        seen |= set(ids_BK.flatten().tolist())
        assert len(ids_BK.unique()) < ids_BK.numel()  # some rows are looked up more than once
        grad_BD = torch.randn(BATCH * TABLES, WIDTH)
        weight_RD.grad = torch.zeros_like(weight_RD)
        for ids_K, grad_D in zip(ids_BK, grad_BD, strict=True):
            for row in ids_K:
                weight_RD.grad[row] += grad_D
        optimizer.step()
        tables.update(ids_BK, grad_BD)
    learned_RD, found_RD = weight_RD.detach(), tables.weight_RD.double()
    torch.testing.assert_close(found_RD, learned_RD, rtol=1e-5, atol=1e-6)
    moved = (found_RD != start_RD).any(dim=1).nonzero().flatten().tolist()
    assert set(moved) == seen


def test_updates_of_bf16_tables_are_rounded_steps() -> None:
    exact, rounded = stacked(), stacked(torch.bfloat16)
    exact.weight_RD = rounded.weight_RD.float()
    ids_BK, grad_BD = exact.draw_ids(BATCH, 1), torch.randn(BATCH * TABLES, WIDTH)
    exact.update(ids_BK, grad_BD)
    rounded.update(ids_BK, grad_BD)
    torch.testing.assert_close(exact.state_R, rounded.state_R)
    torch.testing.assert_close(rounded.weight_RD.float(), exact.weight_RD, rtol=8e-3, atol=1e-4)


def test_ids_stay_in_the_rows_of_their_table_and_are_skewed() -> None:
    tables = StackedTables(TABLES, 1000, 1, device=CPU)
    ids_BTK = tables.draw_ids(4000, 2).view(4000, TABLES, 2)
    first_T = ids_BTK.amin(dim=(0, 2))
    assert (first_T // 1000).tolist() == (ids_BTK.amax(dim=(0, 2)) // 1000).tolist() == [0, 1, 2]
    of_the_table_BTK = ids_BTK - torch.arange(TABLES)[:, None] * 1000
    share_of_the_first_eighth = (of_the_table_BTK < 125).float().mean().item()
    assert share_of_the_first_eighth == pytest.approx(0.5, abs=0.02)
    assert ids_BTK.max() < len(tables.weight_RD)
