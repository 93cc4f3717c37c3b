"""Where a model computes, and in which precision.

The weights stay FP32. With `bf16` the products run under autocast; the logits are FP32 again, and
so is the loss. B examples, T tasks.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from codesign.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wukong.data.batch import Batch
    from wukong.train_config import Device, Precision

# The first NVIDIA generation (Ampere) with TF32 and BF16 products.
TENSOR_CORE_CAPABILITY = (8, 0)


def pick_device(name: Device) -> torch.device:
    """Return this process's device: of several GPUs of a host, the one that LOCAL_RANK says.

    Where each process is shown one GPU alone, as a cluster may do it, that is its own.

    Raises:
        ConfigError: `cuda`, and there is none for this process.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    index, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if gpus == len(shown) == 1 and shown != [""]:
        index = 0
    if index >= gpus:
        raise ConfigError(
            f"device is {name!r}, process {index} of this host finds {gpus} GPUs; each needs one",
            hint="start no more processes than there are GPUs, or set device: cpu",
        )
    return torch.device("cuda", index)


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute FP32 products exactly, or as TF32, while the block runs.

    Raises:
        ConfigError: the device has no such products.
    """
    if precision == "tf32" and device.type == "cpu":
        raise ConfigError("precision is 'tf32', which CPUs do not have; must be fp32 or bf16")
    if precision != "fp32" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < TENSOR_CORE_CAPABILITY:
            raise ConfigError(
                f"precision is {precision!r}, which {torch.cuda.get_device_name(device)} (compute "
                f"capability {capability[0]}.{capability[1]}) does not have; must be fp32"
            )
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads while the block runs; None: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Logits(nn.Module):
    """A model that takes batches from anywhere and answers in FP32.

    Args:
        model: its forward takes a Batch; its logits are (B,) or (B, T).
        device: where it lies.
        precision: of its products.
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.device = device
        self.precision = precision

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits (B, T), float32, on the device."""
        with self._autocast():
            logit: Tensor = self.model(batch.to(self.device))
        if not torch.is_grad_enabled() and isinstance(self.model, FSDPModule):
            # Backward would; else the weights gathered now would be used after a later step, too.
            self.model.reshard()
        return (logit[:, None] if logit.ndim == 1 else logit.flatten(1)).float()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision != "bf16":
            return nullcontext()
        # No cache: each weight is used once, and a copy would outlive its gathered original.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
