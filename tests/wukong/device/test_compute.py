"""Devices and precisions that a machine has, or has not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codesign.errors import ConfigError
from tests.support.rank_training import batch_of
from wukong.data.batch import Batch
from wukong.device.compute import Logits, pick_device, products_in

CPU = torch.device("cpu")


def test_the_cpu_is_always_there_and_chosen_where_there_is_no_gpu() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_process_without_a_gpu_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(ConfigError, match=r"process 99 of this host finds [0-9]+ GPUs; each needs"):
        pick_device("cuda")


def test_the_only_gpu_that_a_process_is_shown_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert pick_device("auto") == torch.device("cuda", 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(ConfigError, match="process 3 of this host finds 1 GPUs"):
        pick_device("auto")


def test_tf32_is_refused_on_the_cpu() -> None:
    with (
        pytest.raises(ConfigError, match="'tf32', which CPUs do not have; must be fp32 or bf16"),
        products_in("tf32", CPU),
    ):
        pass


def test_how_products_are_computed_is_set_for_the_run_alone() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        with products_in("fp32", CPU):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 == before[1]
    finally:
        torch.set_float32_matmul_precision(before[0])


class Constant(nn.Module):
    """Answers with one number for each example, in one dimension or two."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.shape = shape

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.linear(batch.dense_BD).reshape(len(batch), *self.shape)


@pytest.mark.parametrize("examples", [0, 3])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize(("precision", "digits"), [("fp32", 24), ("bf16", 8)])
def test_logits_are_fp32_and_one_for_each_example_and_task(
    examples: int, shape: tuple[int, ...], precision: str, digits: int
) -> None:
    model = Constant(*shape)
    batch = batch_of(3, 0).part(0, examples)
    logit_BT = Logits(model, CPU, precision)(batch)
    assert logit_BT.shape == (examples, 1)
    assert logit_BT.dtype == torch.float32
    exact = model.linear(batch.dense_BD)
    assert torch.allclose(logit_BT, exact, rtol=0, atol=4 * 2.0**-digits)
    rounded = torch.equal(logit_BT, logit_BT.bfloat16().float())
    assert rounded == (precision == "bf16" or not examples)
