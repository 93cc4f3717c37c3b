"""One batch of examples, as every model and table backend sees it.

B examples, F1 one-hot features, F2 multi-hot features, D dense features, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B examples.

    Ids may be int32, as the loader's are, or int64. The loader's `one_hot_BF` is the transpose of
    contiguous (F1, B) memory, so that `one_hot_BF.t().flatten()` is feature-major without a copy.

    Attributes:
        one_hot_BF: int32 or int64 (B, F1), ids of the one-hot features in schema order.
        bag_values: int32 or int64 (total ids,), ids of the multi-hot features, feature-major: all
            of the first feature's examples, then the second's (the order of a KeyedJaggedTensor).
        bag_lengths_FB: int32 or int64 (F2, B), ids per example, same order.
        dense_BD: float32 (B, D).
        label_BT: float32 (B, T), 0 or 1, NaN where the label was not observed.
        weight_B: float32 (B,), how much each example counts; None: all alike.
        group_B: int64 (B,), the group of each example; None: there are no groups.
    """

    one_hot_BF: Tensor
    bag_values: Tensor
    bag_lengths_FB: Tensor
    dense_BD: Tensor
    label_BT: Tensor
    weight_B: Tensor | None = None
    group_B: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label_BT)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on this device; from pinned memory the copy does not wait."""
        if self.label_BT.device == device:
            return self
        moved: dict[str, Any] = {
            name: None if tensor is None else tensor.to(device, non_blocking=True)
            for name, tensor in vars(self).items()
        }
        return Batch(**moved)

    def part(self, first: int, end: int) -> Batch:
        """Return examples `first` to `end`, which may be none; tensors may share memory."""
        if (first, end) == (0, len(self)):
            return self
        offsets = [0, *self.bag_lengths_FB.flatten().cumsum(0).tolist()]
        bags = [
            self.bag_values[offsets[row + first] : offsets[row + end]]
            for row in range(0, self.bag_lengths_FB.numel(), len(self))
        ]
        return Batch(
            one_hot_BF=self.one_hot_BF[first:end],
            bag_values=torch.cat([self.bag_values[:0], *bags]),
            bag_lengths_FB=self.bag_lengths_FB[:, first:end],
            dense_BD=self.dense_BD[first:end],
            label_BT=self.label_BT[first:end],
            weight_B=None if self.weight_B is None else self.weight_B[first:end],
            group_B=None if self.group_B is None else self.group_B[first:end],
        )
